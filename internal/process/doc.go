// Package process runs a server program as a child that does not outlive its
// parent. pgserver and kafkaserver stand on it.
//
// # Promise
//
//   - A child is the leader of its own process group, so that Ctrl-C in a
//     terminal reaches the parent alone and the parent decides the order in
//     which things stop.
//   - On Linux the kernel signals the child when the parent dies, however it
//     dies (prctl(2), PR_SET_PDEATHSIG). The kernel ties that signal to the
//     thread that forked, not to the process, so the forking goroutine holds
//     its thread until the child is gone.
//   - [LockFile] and [FreePort] are what two processes need to start servers side
//     by side. A port can be lost again before the server binds it, so its caller
//     tries more than once.
//   - Done is closed only after the child was reaped: its pid is free, its
//     ports are closed.
//
// # What it does not do
//
// It restarts nothing and reads no output: the child writes to the file that it
// is given. Elsewhere than on Linux nothing ends the child when the parent is
// killed with SIGKILL. A grandchild that makes a session of its own (each
// Postgres backend does) is outside the group; [Process.KillTree] finds those on
// Linux by their parent pid.
package process
