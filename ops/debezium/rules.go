package debezium

import "strings"

// rule is for an option that bears on no record.
type rule struct {
	only []string // values that are as good as taken; nil: all
	why  string
}

const (
	tuning   = "the relay finds its own pace, within a bound of bytes and records in flight"
	retrying = "the relay tries again without end, with pauses that grow"
	insertly = "only inserts are relayed, as the router does"
)

// rules by option; one that ends with a dot is a prefix.
var rules = map[string]rule{
	"tasks.max":                              {[]string{"1"}, "one task, as a Postgres connector always has"},
	"max.queue.size":                         {nil, tuning},
	"max.queue.size.in.bytes":                {nil, tuning},
	"max.batch.size":                         {nil, tuning},
	"poll.interval.ms":                       {nil, tuning},
	"query.fetch.size":                       {nil, tuning},
	"snapshot.fetch.size":                    {nil, tuning},
	"incremental.snapshot.chunk.size":        {nil, tuning},
	"min.row.count.to.stream.results":        {nil, tuning},
	"status.update.interval.ms":              {nil, "the relay answers whenever it is asked, and within a third of wal_sender_timeout"},
	"slot.max.retries":                       {nil, retrying},
	"slot.retry.delay.ms":                    {nil, retrying},
	"errors.max.retries":                     {nil, retrying},
	"errors.retry.timeout":                   {nil, retrying},
	"errors.retry.delay.max.ms":              {nil, retrying},
	"retriable.restart.connector.wait.ms":    {nil, retrying},
	"connection.validation.timeout.ms":       {nil, retrying},
	"database.query.timeout.ms":              {nil, "each statement of the relay has a bound of its own"},
	"database.tcpKeepAlive":                  {nil, "a dead connection is found within 15 seconds"},
	"database.initial.statements":            {[]string{""}, "no statement is run for you; set it for the role with ALTER ROLE … SET"},
	"errors.tolerance":                       {[]string{"none", "all"}, "a row that cannot be sent is parked, and the stream goes on"},
	"errors.log.enable":                      {nil, "every parked row is logged, without its payload"},
	"errors.log.include.messages":            {[]string{"false"}, "no payload is ever logged"},
	"event.processing.failure.handling.mode": {[]string{"fail", "warn", "skip"}, "a row that cannot be sent is parked, and the stream goes on"},
	"slot.drop.on.stop":                      {[]string{"false"}, "dropping the slot loses what is written until it is made again"},
	"slot.stream.params":                     {[]string{""}, "the relay sets its own"},
	"slot.failover":                          {[]string{"true", "false"}, "belongs to how the slot is made; the relay takes the slot as it is"},
	"publication.autocreate.mode":            {nil, "the relay does not make a publication; it has the one that is there"},
	"publish.via.partition.root":             {nil, "belongs to the publication, which stays as it is"},
	"lsn.flush.mode":                         {[]string{"connector", "connector_and_driver"}, "the slot follows what Kafka has acknowledged"},
	"lsn.flush.timeout.ms":                   {nil, "the slot follows what Kafka has acknowledged"},
	"lsn.flush.timeout.action":               {nil, "the slot follows what Kafka has acknowledged"},
	"flush.lsn.source":                       {[]string{"true"}, "the slot follows what Kafka has acknowledged; otherwise WAL would fill the disk"},
	"offset.mismatch.strategy":               {nil, "a slot and a record that do not fit are refused, with what to do"},
	"skipped.operations":                     {nil, insertly},
	"tombstones.on.delete":                   {nil, "a delete sends nothing, as behind the router"},
	"include.schema.changes":                 {nil, "there is no schema topic"},
	"include.unknown.datatypes":              {[]string{"false"}, "a column of a type that Debezium does not know is left out"},
	"unavailable.value.placeholder":          {nil, "an insert is always whole"},
	"replica.identity.autoset.values":        {nil, insertly},
	"column.include.list":                    {[]string{""}, "the columns that the router names are the ones that are read"},
	"column.exclude.list":                    {[]string{""}, "the columns that the router names are the ones that are read"},
	"column.propagate.source.type":           {[]string{""}, "schemas would have parameters that they have not here"},
	"datatype.propagate.source.type":         {[]string{""}, "schemas would have parameters that they have not here"},
	"time.precision.mode":                    {[]string{"adaptive"}, "adaptive is the only one"},
	"interval.handling.mode":                 {[]string{"numeric"}, "numeric is the only one"},
	"hstore.handling.mode":                   {nil, "a column of hstore is left out"},
	"money.fraction.digits":                  {[]string{"2"}, "2 is the only one"},
	"schema.name.adjustment.mode":            {[]string{"none"}, "none is the only one"},
	"schema.refresh.mode":                    {nil, "a new Relation message is always followed"},
	"converters":                             {[]string{""}, "a converter in Java cannot be run"},
	"schema.include.list":                    {nil, "the tables are named"},
	"schema.exclude.list":                    {nil, "the tables are named"},
	"table.exclude.list":                     {nil, "the tables are named"},
	"table.ignore.builtin":                   {nil, "the tables are named"},
	"message.key.columns":                    {nil, "the router sets the key"},
	"topic.naming.strategy":                  {nil, "the router makes the topic"},
	"topic.delimiter":                        {[]string{"."}, "names of envelopes' schemas have dots"},
	"topic.cache.size":                       {nil, tuning},
	"topic.creation.":                        {nil, "topics are there already; the relay makes none"},
	"snapshot.mode":                          {[]string{"no_data", "never", "schema_only", "initial", "when_needed", "configuration_based"}, "the relay goes on where the slot is, and reads no table"},
	"snapshot.":                              {nil, "the relay reads no table"},
	"provide.transaction.metadata":           {[]string{"false"}, "there is no transaction topic"},
	"topic.transaction":                      {nil, "there is no transaction topic"},
	"signal.":                                {nil, "signals come by the signal table alone"},
	"notification.":                          {nil, "there are no notifications"},
	"custom.metric.tags":                     {nil, "metrics have the slot as their label"},
	"statistics.metrics.enabled":             {nil, "metrics are histograms"},
	"log.":                                   {nil, "a setting of the Java program"},
	"internal.":                              {nil, "a setting of the Java program"},
	"exactly.once.support":                   {[]string{"requested"}, "delivery is at least once; consumers tell a repeat by the header id"},
	"transaction.boundary":                   {nil, "delivery is at least once"},
	"transaction.boundary.interval.ms":       {nil, "delivery is at least once"},
	"offsets.storage.topic":                  {nil, "the position is taken from the slot or from the offsets that you name"},
	"config.action.reload":                   {nil, "a setting of the worker"},
	"bootstrap.servers":                      {nil, ""},
	"producer.override.":                     {nil, "the producer is idempotent with acks from all replicas; batches are as large as what waits"},
	// Debezium Server's own.
	"offset.storage":  {nil, "the position is taken from the slot or from the offsets that you name"},
	"offset.storage.": {nil, "the position is taken from the slot or from the offsets that you name"},
	"offset.flush.":   {nil, "the position is written within 250 ms of an acknowledgement"},
	"schema.history.": {nil, "Postgres needs no schema history"},
	"api.enabled":     {nil, "there is no REST endpoint for signals"},
}

// find returns an option's rule: its own, or that of the longest prefix.
func find(option string) (rule, bool) {
	if r, ok := rules[option]; ok {
		return r, true
	}
	for end := strings.LastIndexByte(option, '.'); end >= 0; end = strings.LastIndexByte(option[:end], '.') {
		if r, ok := rules[option[:end+1]]; ok {
			return r, true
		}
	}
	return rule{}, false
}
