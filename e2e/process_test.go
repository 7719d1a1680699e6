package e2e

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	flagDuration = flag.Duration("e2e.duration", 0, "how long TestHistories makes traffic, and a sign to the other tests to run all their rounds; E2E_DURATION in the environment does the same")
	flagSeed     = flag.Uint64("e2e.seed", 0, "seed of the choices of TestHistories, E2E_SEED; 0 makes one")
)

// workDir has the binaries. Tests keep their logs under directories of their own.
var workDir string

func TestMain(m *testing.M) {
	flag.Parse()
	if d, err := time.ParseDuration(os.Getenv("E2E_DURATION")); err == nil && *flagDuration == 0 {
		*flagDuration = d
	}
	if s := os.Getenv("E2E_SEED"); s != "" && *flagSeed == 0 {
		fmt.Sscan(s, flagSeed)
	}
	if *flagSeed == 0 {
		*flagSeed = rand.Uint64N(1<<32) + 1
	}
	var err error
	if workDir, err = os.MkdirTemp("", "curfew-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(workDir)
	os.Exit(code)
}

// long reports whether all rounds are wanted.
func long() bool { return *flagDuration > 0 }

// program is built once.
type program struct {
	pkg, name, tags string
	once            sync.Once
	path            string
	err             error
}

var (
	authorityBinary      = &program{pkg: "./cmd/curfew", name: "curfew"}
	serviceBinary        = &program{pkg: "./e2e/service", name: "service"}
	authorityFaultBinary = &program{pkg: "./cmd/curfew", name: "curfew-fault", tags: "curfew_fault"}
	serviceFaultBinary   = &program{pkg: "./e2e/service", name: "service-fault", tags: "curfew_fault"}
)

func (b *program) build(t testing.TB) string {
	t.Helper()
	b.once.Do(func() {
		b.path = filepath.Join(workDir, b.name)
		args := []string{"build", "-o", b.path, "-tags", b.tags}
		if raceDetector {
			args = append(args, "-race")
		}
		cmd := exec.Command("go", append(args, b.pkg)...)
		cmd.Dir = ".."
		if out, err := cmd.CombinedOutput(); err != nil {
			b.err = fmt.Errorf("go build %s: %w\n%s", b.pkg, err, out)
		}
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.path
}

// process is a real one, that can be killed, stopped and started again. Its
// output of all its lives is in one file.
type process struct {
	name string
	args []string
	env  []string // beside that of the test
	log  string

	mu      sync.Mutex
	cmd     *exec.Cmd
	ended   chan struct{}
	stopped bool
	file    *os.File
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return fmt.Errorf("%s is running already", p.name)
	}
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Env = append(environ(), p.env...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		f.Close()
		return err
	}
	p.cmd, p.file, p.stopped, p.ended = cmd, f, false, make(chan struct{})
	go func(ended chan struct{}) {
		cmd.Wait()
		close(ended)
	}(p.ended)
	return nil
}

// environ is the environment without what configures Curfew: an authority
// refuses variables that are not its own.
func environ() []string {
	var out []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "CURFEW_") {
			out = append(out, e)
		}
	}
	return out
}

// kill is kill -9. It returns when the process is gone.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	p.cmd.Process.Kill()
	<-p.ended
	p.file.Close()
	p.cmd = nil
}

// end is SIGTERM. It returns when the process has ended of itself.
func (p *process) end(within time.Duration) error {
	p.mu.Lock()
	if p.cmd == nil {
		p.mu.Unlock()
		return errors.New("no such process")
	}
	err := p.cmd.Process.Signal(syscall.SIGTERM)
	p.mu.Unlock()
	if err == nil {
		err = p.wait(within)
	}
	p.kill()
	return err
}

// wait returns when the process has ended by itself.
func (p *process) wait(within time.Duration) error {
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	select {
	case <-ended:
		p.kill() // forgets it
		return nil
	case <-time.After(within):
		return fmt.Errorf("%s is still running after %v", p.name, within)
	}
}

// running reports whether the process is alive, stopped or not.
func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// stop is SIGSTOP. It returns when the process stands still.
func (p *process) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return errors.New("no such process")
	}
	pid := p.cmd.Process.Pid
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	p.stopped = true
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if standsStill(pid) {
			return nil
		}
	}
	return fmt.Errorf("%s does not stop", p.name)
}

// proceed is SIGCONT.
func (p *process) proceed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil && p.stopped {
		p.cmd.Process.Signal(syscall.SIGCONT)
		p.stopped = false
	}
}

// tail is the end of what the process has written.
func (p *process) tail() string {
	b, _ := os.ReadFile(p.log)
	if len(b) > 4000 {
		b = b[len(b)-4000:]
	}
	return fmt.Sprintf("%s:\n%s", p.name, b)
}

// crashed returns the part of the output that says that a process died of a
// mistake of its own, or "".
func (p *process) crashed() string {
	b, _ := os.ReadFile(p.log)
	for _, sign := range []string{"panic:", "fatal error:", "WARNING: DATA RACE", "msg=panic"} {
		if i := bytes.Index(b, []byte(sign)); i >= 0 {
			return p.name + ": " + string(b[i:min(len(b), i+3000)])
		}
	}
	// A client that hangs up is worth a line to Python, and none to us.
	for part := range bytes.SplitSeq(b, []byte("Traceback (most recent call last)")) {
		i := bytes.Index(part, []byte("Error"))
		if bytes.HasPrefix(part, []byte(":\n")) && i >= 0 && !bytes.Contains(part, []byte("ConnectionResetError")) && !bytes.Contains(part, []byte("BrokenPipeError")) {
			return p.name + ": " + string(part[:min(len(part), 3000)])
		}
	}
	return ""
}

// freeAddress is outside the range from which systems take the ports of outgoing
// connections: it must still be free when a process comes back to it.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}

// eventually asks again until ok or until it has taken far too long.
func eventually(within time.Duration, ok func() bool) bool {
	for end := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}
