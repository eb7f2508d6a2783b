// Package notification writes a customer a mail when the order is placed,
// confirmed, cancelled, in review, or stuck. It follows the order events by
// itself; the saga does not know it.
//
// # Promise
//
// At least one mail for each event, at most one repeat for each time that the
// outcome of a sending stays unknown: the sender, or the connection, died after
// the server had taken the mail and before that was noted. A repeat is the same
// bytes with the same Message-ID, by which a mailbox can tell. Exactly once
// cannot be had of SMTP.
//
// # How
//
// The mail is a row of notification.messages, pending, written in the inbox
// transaction of its event; nothing is sent there. [Notifier.Run] sends after
// the commit:
//
//	claim    a few rows, FOR UPDATE SKIP LOCKED, each for a lease; committed
//	send     over one SMTP connection, outside any transaction
//	mark     each row by itself, as soon as the server has answered
//
// The Message-ID is made of the event's id. Any number of senders may run.
//
// # Outcomes
//
//	250 to the mail            sent
//	5xx to recipient or mail   failed: trying again would not help
//	anything else              pending again after a growing pause, until
//	                           Config.Attempts; then failed
//	no SMTP configured         not_sent, at once: the table is all there is
//
// A server that is away, or refuses our name or password, fails no mail: it
// costs attempts of none and the sender waits.
//
// # When the process dies
//
//   - after the claim, before the sending: the lease ends and the mail is sent;
//   - after the server took it, before the mark: the lease ends and the mail is
//     sent again, once for each such death;
//   - after the mark: nothing.
//
// # Addresses
//
// Customers are ids here, not people with addresses. An id that is a mail
// address is used as it is; any other becomes the local part of one in
// [Config.RecipientDomain].
//
// # Metrics
//
//	gapless_notification_mails_total{result}   sent, failed, retried
//
// # What it does not do
//
// It keeps no templates, no preferences and no bounces, and promises no order
// between the mails of one order: each says what it is about.
package notification
