package notification

import "context"

// SendSome claims and sends once.
func (n *Notifier) SendSome(ctx context.Context) (int, error) { return n.sendSome(ctx) }
