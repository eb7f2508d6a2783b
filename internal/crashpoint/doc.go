// Package crashpoint kills the process at a named step, so that a test can
// prove what survives there.
//
// In a normal build Hit is empty and the compiler removes it. Built with the
// tag crashpoints, the environment variable
//
//	GAPLESS_CRASH=name:n[,name:n…]
//
// makes the n-th hit of that name (n >= 1, default 1) write the line
// "crashpoint name" to standard error and send the process SIGKILL: no
// deferred call runs, no buffer is flushed, no connection is closed. The line
// is the proof that the fault fired; a test that does not find it must fail.
//
// Names are <component>.<step>, in the tense of what has already happened:
// relay.after_commit. A name that no code hits never fires, and its test
// fails for want of the line.
package crashpoint
