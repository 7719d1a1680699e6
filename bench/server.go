package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/password"
	"github.com/curfewhq/curfew/internal/seal"
	"github.com/curfewhq/curfew/internal/server"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/store/sqlite"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// serverEnv tells this program that it is the server, and of what.
const serverEnv = "CURFEW_BENCH_SERVER"

// setup is what the server is started with, in serverEnv.
type setup struct {
	Dir string
	// CheapHash makes passwords cost next to nothing, where they are not what
	// is measured.
	CheapHash bool
}

// users is how many accounts the sessions belong to. A user with hundreds of
// sessions would make some queries slower than they are in life.
const users = 2000

const userPassword = "correct horse battery staple"

// command is what the generator asks of the server besides HTTP: over standard
// input and output, one JSON value each way.
type command struct {
	Login       int    `json:",omitempty"` // make so many sessions
	Hash        int    `json:",omitempty"` // check a password so often
	ProfileTo   string `json:",omitempty"` // start a CPU profile
	ProfileDone bool   `json:",omitempty"` // and end it
}

// reply is the answer to a command; the first comes unasked, with Addr.
type reply struct {
	Addr     string          `json:",omitempty"`
	Sessions []session       `json:",omitempty"`
	Took     []time.Duration `json:",omitempty"` // of each hash
	Err      string          `json:",omitempty"`
}

// session is what a login gives out.
type session struct{ ID, Subject, Access, Refresh string }

// serve is the server's process. It ends when its standard input does.
func serve(text string) error {
	var s setup
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return fmt.Errorf("reading %s: %w", serverEnv, err)
	}
	ctx := context.Background()
	path := filepath.Join(s.Dir, "curfew.db")
	if err := sqlite.Create(ctx, path, sqlite.Options{}); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	st, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return err
	}
	defer st.Close()
	key, err := seal.LoadOrCreate(filepath.Join(s.Dir, "master.key"))
	if err != nil {
		return err
	}
	hash := password.Config{}
	if s.CheapHash {
		hash = password.Config{MemoryKiB: 8, Iterations: 1, Parallelism: 1, Concurrency: 2}
	}
	hasher, err := password.New(hash)
	if err != nil {
		return err
	}
	metrics := server.NewMetrics(prometheus.NewRegistry())
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	auth, err := authority.Open(ctx, authority.Config{Issuer: "http://bench.example"},
		authority.Deps{Store: st, Hasher: hasher, Sealer: key, Logger: logger, Observer: metrics})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- auth.Run(ctx) }()
	h, err := server.New(server.Config{Authority: auth, Metrics: metrics, Logger: logger, Version: "bench"})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go http.Serve(l, h)
	c := &control{auth: auth, store: st, hasher: hasher, prefix: map[bool]string{true: "cheap", false: "full"}[s.CheapHash]}
	if err := c.makeUsers(ctx); err != nil {
		return err
	}
	err = c.answer(ctx, l.Addr().String())
	l.Close()
	cancel()
	return errors.Join(err, <-ran)
}

// control carries out commands.
type control struct {
	auth    *authority.Authority
	store   store.Store
	hasher  *password.Hasher
	prefix  string // of the accounts, which have hashes of one cost
	encoded string // hash of userPassword
	begun   int    // sessions so far
	profile *os.File
}

func (c *control) login(i int) string { return fmt.Sprintf("%s%d@bench.example", c.prefix, i%users) }

// makeUsers makes the accounts, all with one hash, which would otherwise take
// longer than everything else.
func (c *control) makeUsers(ctx context.Context) error {
	u, err := c.store.UserByLogin(ctx, c.login(0))
	if err == nil {
		c.encoded = u.PasswordHash
		return nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if c.encoded, err = c.hasher.Hash(ctx, userPassword); err != nil {
		return err
	}
	now := time.Now()
	var change store.Change
	for i := range users {
		change.InsertUsers = append(change.InsertUsers, store.User{
			ID: curfew.NewID(), Email: c.login(i), EmailFold: c.login(i), Name: "Some Body", PasswordHash: c.encoded,
			Roles: []string{"member"}, Status: store.UserActive, CreatedAt: now, UpdatedAt: now,
		})
	}
	_, err = c.store.Commit(ctx, change)
	return err
}

func (c *control) answer(ctx context.Context, addr string) error {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	if err := out.Encode(reply{Addr: addr}); err != nil {
		return err
	}
	for {
		var cmd command
		if err := in.Decode(&cmd); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		r, err := c.carryOut(ctx, cmd)
		if err != nil {
			r.Err = err.Error()
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
}

func (c *control) carryOut(ctx context.Context, cmd command) (r reply, err error) {
	switch {
	case cmd.Login > 0:
		r.Sessions, err = c.logins(ctx, cmd.Login)
	case cmd.Hash > 0:
		for range cmd.Hash {
			start := time.Now()
			ok, _, err := c.hasher.Verify(ctx, c.encoded, userPassword)
			if err != nil || !ok {
				return r, fmt.Errorf("checking a password: %t, %w", ok, err)
			}
			r.Took = append(r.Took, time.Since(start))
		}
	case cmd.ProfileTo != "":
		if c.profile, err = os.Create(cmd.ProfileTo); err == nil {
			err = pprof.StartCPUProfile(c.profile)
		}
	case cmd.ProfileDone:
		pprof.StopCPUProfile()
		err = c.profile.Close()
	}
	return r, err
}

// logins begins sessions as Login does, only without HTTP around it.
func (c *control) logins(ctx context.Context, n int) ([]session, error) {
	out := make([]session, n)
	var g errgroup.Group
	g.SetLimit(64)
	for i := range out {
		who := c.login(c.begun + i)
		g.Go(func() error {
			issued, err := c.auth.Login(ctx, authority.LoginInput{
				Login: who, Password: userPassword, From: authority.Origin{IP: "192.0.2.1", LimitKey: "192.0.2.1", UserAgent: userAgent},
			})
			out[i] = session{ID: issued.Session.ID, Access: issued.AccessToken, Refresh: issued.RefreshToken}
			return err
		})
	}
	c.begun += n
	return out, g.Wait()
}

// child is the server's process as its parent sees it.
type child struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	to   *json.Encoder
	from *json.Decoder
	addr string
}

func startServer(s setup) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(exe)}
	c.cmd.Env = append(os.Environ(), serverEnv+"="+string(text))
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	c.to, c.from = json.NewEncoder(c.in), json.NewDecoder(out)
	first, err := c.read()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the server: %w", err), c.stop())
	}
	c.addr = first.Addr
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

func (c *child) ask(cmd command) (reply, error) {
	if err := c.to.Encode(cmd); err != nil {
		return reply{}, err
	}
	return c.read()
}

func (c *child) read() (reply, error) {
	var r reply
	if err := c.from.Decode(&r); err != nil {
		return r, fmt.Errorf("reading the server's reply: %w", err)
	}
	if r.Err != "" {
		return r, errors.New(r.Err)
	}
	return r, nil
}

// stop lets the server close its store, so that the file is whole, and waits.
func (c *child) stop() error {
	c.in.Close()
	return c.cmd.Wait()
}
