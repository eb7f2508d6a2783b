module github.com/gapless/gapless/bench/peers/go-pq-cdc-kafka

go 1.26

require (
	github.com/Trendyol/go-pq-cdc v1.10.12
	github.com/Trendyol/go-pq-cdc-kafka v1.3.1
	github.com/google/uuid v1.6.0
	github.com/segmentio/kafka-go v0.4.51
)
