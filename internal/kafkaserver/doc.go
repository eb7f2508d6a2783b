// Package kafkaserver gives tests their Kafka, and starts a real Apache Kafka and
// a real Apicurio registry without Docker.
//
// # Brokers for tests
//
// One suite runs against both kinds of broker:
//
//	brokers := kafkaserver.ForTest(t)
//	topic := kafkaserver.Topic(t, brokers, "orders", 8)
//
// Without GAPLESS_TEST_BROKERS each test has a kfake cluster of its own. With it
// (comma-separated) all share that real cluster, which is why every name that a
// test uses comes from [Name]. Topics are not made by producing to them, on
// neither kind. A test that ran on the real cluster carries the attribute
//
//	=== ATTR  TestX broker real
//
// in the output of go test -v (and -json), so that CI can count them and be red at
// zero. Faults are kfake's alone: such a test takes [Fake]. A test of TLS and SASL takes
// [ForTestSecured], which starts a broker of its own, of the same kind.
//
// # Real servers
//
// [StartKafka] and [StartApicurio] fetch their jars with Maven into the user's
// cache directory at the first start, then run them with a JDK of this machine
// (17 for Kafka, 21 for Apicurio). They hold to what package process promises:
//
//   - This process dies, however: the kernel kills the server (Linux). A temporary
//     directory stays.
//   - Start fails or its context ends: the server is killed, the directory
//     removed, and the error has the last lines of the server's log.
//   - Two starts at once: each has its own ports and directory; one of them
//     fetches and the other waits.
//   - Kill is SIGKILL and leaves the data; Restart goes on from it on the same
//     ports. Stop removes a temporary directory.
//
// Their tests carry the build tag jvm, since they need a JDK and Maven where the
// others need Go alone.
//
// cmd/gapless-servers does the same from a shell and stays in the background.
//
// # What it does not do
//
// One broker, which is its own controller; nothing replicated. Loopback only. The registry keeps nothing over a restart. kfake is not Kafka: a
// real broker has the last word.
package kafkaserver
