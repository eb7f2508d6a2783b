package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/gapless/gapless/ops/secure"
)

// kafka is the cluster, once a broker has answered.
type kafka struct {
	client *kgo.Client
	admin  *kadm.Client // closed with the client
	lines  *lines

	brokers  kadm.BrokerDetails
	versions kadm.BrokersApiVersions
}

// lines keeps which brokers were spoken to in the clear. The client calls it from
// goroutines of its own.
type lines struct {
	mu    sync.Mutex
	plain map[string]bool // by host
	all   int
}

var _ kgo.HookBrokerConnect = (*lines)(nil)

// OnBrokerConnect is called by the client.
func (l *lines) OnBrokerConnect(b kgo.BrokerMetadata, _ time.Duration, conn net.Conn, err error) {
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all++
	if _, encrypted := conn.(*tls.Conn); !encrypted {
		l.plain[b.Host] = true
	}
}

// remotePlain lists the hosts on other machines that were spoken to in the clear.
func (l *lines) remotePlain() (hosts []string, all int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for host := range l.plain {
		if secure.Remote(host) {
			hosts = append(hosts, host)
		}
	}
	slices.Sort(hosts)
	return hosts, l.all
}

func (e *exam) dial(ctx context.Context) (*kafka, error) {
	if len(e.cfg.Brokers) == 0 {
		return nil, errNoBrokers
	}
	return e.kafka.get(func() (_ *kafka, err error) {
		k := &kafka{lines: &lines{plain: map[string]bool{}}}
		opts := []kgo.Opt{
			kgo.SeedBrokers(e.cfg.Brokers...), kgo.ClientID("gapless-doctor"), kgo.WithHooks(k.lines),
			kgo.RequestRetries(5), // any broker may be asked first, also one that is away
			// The first exchange on a connection keeps to this, not to the context.
			kgo.RequestTimeoutOverhead(e.cfg.Timeout),
		}
		if len(e.cfg.KafkaOptions) == 0 { // a dialer of their own has a bound in itself
			opts = append(opts, kgo.DialTimeout(e.cfg.Timeout/2))
		}
		if k.client, err = kgo.NewClient(append(opts, e.cfg.KafkaOptions...)...); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				k.client.Close()
			}
		}()
		if err := k.client.Ping(ctx); err != nil {
			return nil, err
		}
		k.admin = kadm.NewClient(k.client)
		if k.brokers, err = k.admin.ListBrokers(ctx); err != nil {
			return nil, err
		}
		k.versions, err = k.admin.ApiVersions(ctx)
		return k, err
	})
}

// cluster is dial for those who only need to know that there is none.
func (e *exam) cluster(ctx context.Context) (*kafka, error) {
	k, err := e.dial(ctx)
	if err == nil || errors.Is(err, errNoBrokers) {
		return k, err
	}
	return nil, errNoKafka
}

func (e *exam) brokersReached(ctx context.Context) (verdict, error) {
	k, err := e.dial(ctx)
	if errors.Is(err, errNoBrokers) {
		return verdict{}, err
	}
	if err != nil {
		v := e.unreached(areaKafka, err)
		v.found = strings.Join(e.cfg.Brokers, ",") + ": " + v.found
		return v, nil
	}
	var away []string
	for _, b := range k.brokers {
		if v, ok := k.versions[b.NodeID]; !ok || v.Err != nil {
			away = append(away, fmt.Sprintf("broker %d names itself %s:%d and does not answer there", b.NodeID, b.Host, b.Port))
		}
	}
	switch {
	case len(away) == len(k.brokers):
		return fault("correct advertised.listeners of the brokers, or the names of their hosts here", "%s", some(away)), nil
	case len(away) > 0:
		return warn("start that broker, or correct its advertised.listeners", "%s", some(away)), nil
	}
	return well("%d of %d answer", len(k.brokers), len(k.brokers)), nil
}

// tooOld tells whether a broker is older than 2.4, the first whose brokers choose the
// replication of a new topic (KIP-464), as 'topics apply' asks them to.
func tooOld(v *kadm.BrokerApiVersions) bool {
	const createTopics = 19
	want, _ := kversion.V2_4_0().LookupMaxKeyVersion(createTopics)
	have, ok := v.KeyMaxVersion(createTopics)
	return !ok || have < want
}

func (e *exam) brokerVersion(ctx context.Context) (verdict, error) {
	k, err := e.cluster(ctx)
	if err != nil {
		return verdict{}, err
	}
	var guesses, old []string
	for _, v := range k.versions.Sorted() {
		if v.Err != nil {
			continue // said by the check brokers
		}
		guess := v.VersionGuess()
		if !slices.Contains(guesses, guess) {
			guesses = append(guesses, guess)
		}
		if tooOld(&v) {
			old = append(old, fmt.Sprintf("broker %d (%s)", v.NodeID, guess))
		}
	}
	switch {
	case len(guesses) == 0:
		return unknown("", "no broker answers at the address that it names")
	case len(old) > 0:
		return fault("upgrade the brokers to 2.4 or newer", "older than 2.4: %s", some(old)), nil
	case len(guesses) > 1:
		return warn("finish the upgrade of the brokers", "the brokers are of several versions: %s", some(guesses)), nil
	}
	return well("%s", guesses[0]), nil
}

// transactionVersion is the feature of KIP-890, by which a transaction of which the end
// came late can no longer be torn.
const transactionVersion = "transaction.version"

func (e *exam) brokerFeatures(ctx context.Context) (verdict, error) {
	k, err := e.cluster(ctx)
	if err != nil {
		return verdict{}, err
	}
	for _, v := range k.versions.Sorted() {
		if v.Err != nil || v.Raw() == nil {
			continue
		}
		var can, is int16
		for _, f := range v.Raw().SupportedFeatures {
			if f.Name == transactionVersion {
				can = f.MaxVersion
			}
		}
		for _, f := range v.Raw().FinalizedFeatures {
			if f.Name == transactionVersion {
				is = f.MaxVersionLevel
			}
		}
		switch {
		case can == 0:
			return well("%s is not known to these brokers", transactionVersion), nil
		case is < can:
			return warn(fmt.Sprintf("kafka-features.sh --bootstrap-server %s upgrade --feature %s=%d", e.cfg.Brokers[0], transactionVersion, can),
				"%s is %d, and the brokers know %d: an upgrade of the cluster was not finished", transactionVersion, is, can), nil
		}
		return well("%s is %d", transactionVersion, is), nil
	}
	return unknown("", "no broker answers at the address that it names")
}

func (e *exam) kafkaTLS(ctx context.Context) (verdict, error) {
	k, err := e.cluster(ctx)
	if err != nil {
		return verdict{}, err
	}
	hosts, all := k.lines.remotePlain()
	if len(hosts) > 0 {
		return warn("--kafka-tls, with a listener of the brokers that speaks it", "not encrypted: connections to %s: whoever is in between reads and changes every event", some(hosts)), nil
	}
	return well("%d connections, encrypted or on this machine", all), nil
}

// offsetsTopic holds the consumers' offsets. Brokers stamp its records themselves.
const offsetsTopic = "__consumer_offsets"

// stampedWithin is how young a broker's stamp has to be to tell of its clock now.
const stampedWithin = 30 * time.Second

// kafkaClock looks at the newest record that a broker has stamped with its own clock.
// A record is never younger than its broker's clock, so one from the future is proof,
// and one of just now too; older ones prove nothing.
func (e *exam) kafkaClock(ctx context.Context) (verdict, error) {
	k, err := e.cluster(ctx)
	if err != nil {
		return verdict{}, err
	}
	stamped := []string{offsetsTopic}
	if settings, err := e.topicSettings(ctx); err == nil {
		for name, s := range settings {
			if s["message.timestamp.type"] == "LogAppendTime" {
				stamped = append(stamped, name)
			}
		}
	}
	offsets, err := k.admin.ListMaxTimestampOffsets(ctx, stamped...)
	if err != nil {
		return verdict{}, err
	}
	now := e.cfg.Now()
	var newest time.Time
	offsets.Each(func(o kadm.ListedOffset) {
		if at := time.UnixMilli(o.Timestamp); o.Err == nil && o.Timestamp > 0 && at.After(newest) {
			newest = at
		}
	})
	switch age := now.Sub(newest); {
	case newest.IsZero():
		return unknown("", "no broker has stamped a record: the topics have their rows' time, and no group has committed an offset")
	case age > stampedWithin:
		return unknown("", "the newest record that a broker has stamped is %s old: no consumer is committing offsets", age.Round(time.Second))
	case age < 0:
		return judgeClock("a broker's clock", -age, true), nil
	}
	return well("a broker stamped a record %s ago", now.Sub(newest).Round(time.Millisecond)), nil
}
