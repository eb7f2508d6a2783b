package consumers

// Status is where one consumer stands in this process.
type Status struct {
	Consumer   string            `json:"consumer"`
	Group      string            `json:"group"`
	Partitions []PartitionStatus `json:"partitions"` // assigned to this process, by topic and partition

	// As of the last look, which is every 15 s.
	BlockedKeys     int64 `json:"blocked_keys"`
	WaitingMessages int64 `json:"waiting_messages"`
	DeadLetters     int64 `json:"dead_letters"`
}

// PartitionStatus is where one assigned partition stands.
type PartitionStatus struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// Next is the offset after the last settled message; -1 before the first.
	Next int64 `json:"next"`
	// End is the partition's end as of the last fetch; -1 before the first.
	End         int64   `json:"end"`
	LagMessages int64   `json:"lag_messages"`
	LagSeconds  float64 `json:"lag_seconds"` // age of the oldest unsettled message received
	Rate        float64 `json:"rate"`        // settled messages a second, over about 10 s
	State       string  `json:"state"`
	Error       string  `json:"error,omitempty"` // why State is not running
}
