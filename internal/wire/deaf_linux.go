package wire

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setDeaf makes the kernel drop each packet that comes for the socket before TCP
// sees it, or ends that. Some machines (sandboxes, hardened kernels) let only root attach a
// filter: errors.ErrUnsupported.
func setDeaf(conn syscall.Conn, deaf bool) error {
	return control(conn, func(fd int) error {
		if !deaf {
			err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
			if errors.Is(err, unix.ENOENT) {
				return nil // it never was deaf
			}
			return err
		}
		// One instruction: accept no byte (bpf(2), classic).
		none := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
		err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &none})
		if errors.Is(err, unix.EPERM) && os.Geteuid() != 0 {
			return fmt.Errorf("attach a filter as this user: %w: %w", errors.ErrUnsupported, err)
		}
		return err
	})
}

// drops is how many packets the kernel has dropped of the socket: SK_MEMINFO_DROPS
// of SO_MEMINFO (linux/sock_diag.h). A closed socket has none.
func drops(conn syscall.Conn) int {
	var info [9]uint32
	size := uint32(unsafe.Sizeof(info))
	err := control(conn, func(fd int) error {
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
	if err != nil {
		return 0
	}
	return int(info[8])
}

func control(conn syscall.Conn, f func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("socket option: %w", failed)
	}
	return nil
}
