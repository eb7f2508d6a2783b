// Package pgtest gives each test a database of its own on a real Postgres.
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
//	func TestAppend(t *testing.T) {
//		t.Parallel()
//		db := pgtest.NewDB(t)
//		pool := db.Pool(t)
//		...
//	}
//
// # Promise
//
//   - One server for a test binary, started by the first test that asks for it: a
//     package whose -run selects nothing starts none.
//   - [NewDB] clones a migrated template and drops the clone after the test, with
//     whatever is still connected to it.
//   - [DB.LoginURL] logs in as one of the least-privilege roles, so that a missing
//     grant is found by a test.
//   - [DB.Slot] makes a replication slot with a name that no other test has. Slots
//     belong to the whole server, so a test never uses the name gapless on the
//     shared one; one that must takes [Server].
//   - After the tests the server is gone, and a goroutine that a test left behind
//     fails the package.
//
// GAPLESS_TEST_POSTGRES names another Postgres for the tests: a directory with
// initdb and postgres, or "embedded" for the fetched one.
//
// # What it does not do
//
// The server is not durable (fsync is off) and is shared: a test that kills,
// restarts or reconfigures a server takes [Server]. Roles are the server's, not
// the database's. When the test binary is killed, so is the server (Linux), and
// the next one removes its directory.
package pgtest
