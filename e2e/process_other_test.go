//go:build !linux

package e2e

import (
	"syscall"
	"time"
)

func dieWithParent() *syscall.SysProcAttr { return nil }

// standsStill cannot look, and waits.
func standsStill(int) bool {
	time.Sleep(20 * time.Millisecond)
	return true
}
