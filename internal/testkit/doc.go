// Package testkit holds the two things every test package shares: a way to wait
// for what happens elsewhere, and a seed that can be given again.
//
// [Eventually] is the one place in the tests that uses a timer. A test that can
// be told by a channel, or that runs in a testing/synctest bubble, uses that.
package testkit
