package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
)

// Env is the variable that holds the Setup of a service.
const Env = "BENCH_SERVICE"

// Setup is what a service is started with.
type Setup struct {
	Variant   string // what checks requests
	Authority string `json:",omitempty"` // its URL
	Key       string `json:",omitempty"` // the verifier's
	Issuer    string `json:",omitempty"`
	Audience  string `json:",omitempty"`
	JWKS      []byte `json:",omitempty"`
	Redis     string `json:",omitempty"` // host and port
	// HeapMiB is memory that the service holds beside what the check needs, as
	// services do. Without it the collector runs much more often in front of a
	// check that holds little than of one that holds a lot.
	HeapMiB int `json:",omitempty"`
}

// Command is what the measuring program asks of a service.
type Command struct {
	Memory      bool   `json:",omitempty"`
	ProfileTo   string `json:",omitempty"` // start a CPU profile
	ProfileDone bool   `json:",omitempty"`
}

// Reply is the answer to a command; the first comes unasked, with Addr.
type Reply struct {
	Addr string `json:",omitempty"`
	// Live is the heap in use after a collection, in bytes.
	Live uint64 `json:",omitempty"`
	Err  string `json:",omitempty"`
}

// ReadSetup returns the Setup that this process was started with.
func ReadSetup() (Setup, error) {
	var s Setup
	if err := json.Unmarshal([]byte(os.Getenv(Env)), &s); err != nil {
		return s, fmt.Errorf("reading %s: %w; this program is started by go run ./bench", Env, err)
	}
	return s, nil
}

// Check is what stands in front of the handler.
type Check func(http.Handler) http.Handler

// None checks nothing.
func None(next http.Handler) http.Handler { return next }

// Handler is the handler of all services.
var Handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, "hello\n")
})

// Serve serves Handler behind check until standard input ends.
func Serve(ctx context.Context, s Setup, check Check) error {
	var heap [][]byte
	for range s.HeapMiB {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		heap = append(heap, b)
	}
	defer runtime.KeepAlive(heap)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: check(Handler)}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	err = answer(l.Addr().String())
	srv.Close()
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return errors.Join(err, context.Cause(ctx))
}

// answer carries out commands until standard input ends.
func answer(addr string) error {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	if err := out.Encode(Reply{Addr: addr}); err != nil {
		return err
	}
	var profile *os.File
	for {
		var c Command
		if err := in.Decode(&c); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var r Reply
		var err error
		switch {
		case c.Memory:
			debug.FreeOSMemory()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			r.Live = m.HeapAlloc
		case c.ProfileTo != "":
			if profile, err = os.Create(c.ProfileTo); err == nil {
				err = pprof.StartCPUProfile(profile)
			}
		case c.ProfileDone:
			pprof.StopCPUProfile()
			err = profile.Close()
		}
		if err != nil {
			r.Err = err.Error()
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
}
