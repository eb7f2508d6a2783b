// Package topics makes the topics of the pipeline, and tells which are missing.
//
// # Which
//
//	outbox.event.<aggregatetype>   Config.Partitions each: the key is the order,
//	                               so partitions are what consumers run in parallel
//	dlq.<group>.<topic>            for each consumer and topic of it; one partition
//	                               each: dead letters are few, and whoever reads
//	                               them sees them in the order in which they came
//
// All get
//
//	max.message.bytes       2 MiB: a payload of 1 MiB, its headers, and the
//	                        dead letter of one, which carries more headers
//	cleanup.policy          delete: an event is not superseded by the next one
//	message.timestamp.type  CreateTime: a record has its row's created_at
//	min.insync.replicas     Config.MinInsync, or the cluster's default
//
// # Promise
//
// [Apply] may be run again at any time, by two at once, and after it died: what is
// there stays there, what is missing is made, settings that would break the
// pipeline are set. It never deletes, never lowers max.message.bytes, and never
// adds partitions unless told to, because keys would move to other partitions and
// their order between old and new records would be lost. A refusal changes
// nothing at all.
//
// # What it does not do
//
// It does not change the replication of a topic that exists, nor take partitions
// away; both are reported as differences. Retention is the cluster's.
package topics
