package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/seal"
	"github.com/curfewhq/curfew/internal/store"
	"github.com/curfewhq/curfew/internal/store/sqlite"
	"github.com/curfewhq/curfew/internal/token"
	"golang.org/x/sync/errgroup"
)

// nodeIssuer and nodeAudience are in every token of a node.
const (
	nodeIssuer   = "https://bench.example"
	nodeAudience = "curfew"
)

// node is the binary that users run, with a store of its own.
type node struct {
	b    *bench
	data string
	addr string
	url  string
	key  string // of the verifiers
	jwks []byte
	sign *token.Signer

	cmd    *exec.Cmd
	exited chan error
	log    bytes.Buffer
	ready  time.Duration // from the last start to 200 at /readyz
}

// binary builds a command of this repository once, and returns its path.
func (b *bench) binary(dir string) (string, error) {
	out := filepath.Join(b.dir, filepath.Base(dir)+".bin")
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	if _, err := os.Stat("cmd/curfew"); err != nil {
		return "", errors.New("run it in the root of the repository, where cmd/curfew is")
	}
	build := exec.CommandContext(b.ctx, "go", "build", "-o", out, ".")
	build.Dir = dir
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w: %s", dir, err, text)
	}
	return out, nil
}

// newNode makes a store with a key, a verifier, live sessions and revocations
// that no verifier may forget yet, and starts an authority on it.
func (b *bench) newNode(sessions, revocations int) (*node, []session, error) {
	dir, err := os.MkdirTemp(b.dir, "node-")
	if err != nil {
		return nil, nil, err
	}
	n := &node{b: b, data: dir}
	if err := n.start(); err != nil { // makes the store and its keys
		return nil, nil, err
	}
	err = n.addVerifier()
	if err = errors.Join(err, n.stop()); err != nil {
		return nil, nil, err
	}
	list, err := n.fill(b.ctx, sessions)
	if err != nil {
		return nil, nil, fmt.Errorf("filling the store: %w", err)
	}
	if err := addRevocations(b.ctx, n.file(), revocations); err != nil {
		return nil, nil, fmt.Errorf("filling the log: %w", err)
	}
	return n, list, n.start()
}

func (n *node) file() string { return filepath.Join(n.data, "curfew.db") }

func (n *node) pid() int { return n.cmd.Process.Pid }

// start starts the authority and waits until it is ready. Where profiles are
// asked for, this program is the authority: the same code with a profiler.
func (n *node) start() error {
	exe, err := n.b.binary("cmd/curfew")
	if err != nil {
		return err
	}
	if n.addr, err = freeAddr(); err != nil {
		return err
	}
	n.url = "http://" + n.addr
	n.log.Reset()
	n.cmd = exec.Command(exe, "serve", "--data", n.data, "--listen", n.addr, "--public-url", nodeIssuer)
	if n.b.opts.profile != "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		dir, err := filepath.Abs(n.b.opts.profile)
		if err != nil {
			return err
		}
		n.cmd = exec.Command(self)
		n.cmd.Env = append(os.Environ(), nodeEnv+"="+nodeSetup{n.data, n.addr, dir}.text())
	}
	n.cmd.Stdout, n.cmd.Stderr = &n.log, &n.log
	begin := time.Now()
	if err := n.cmd.Start(); err != nil {
		return err
	}
	n.exited = make(chan error, 1)
	go func() { n.exited <- n.cmd.Wait() }()
	for !isReady(n.url + "/readyz") {
		select {
		case err := <-n.exited:
			return fmt.Errorf("curfew serve ended: %w: %s", err, n.log.String())
		case <-n.b.ctx.Done():
			return context.Cause(n.b.ctx)
		case <-time.After(time.Millisecond):
		}
		if time.Since(begin) > 2*time.Minute {
			return errors.New("curfew serve is not ready after two minutes")
		}
	}
	n.ready = time.Since(begin)
	return nil
}

func (n *node) stop() error {
	if n.cmd == nil {
		return nil
	}
	n.cmd.Process.Signal(syscall.SIGTERM)
	err := <-n.exited
	n.cmd = nil
	if err != nil {
		return fmt.Errorf("curfew serve: %w: %s", err, n.log.String())
	}
	return nil
}

// profiled writes a CPU profile and then a heap profile of what f does to the
// authority, if profiles are asked for.
func (n *node) profiled(name string, f func() error) error {
	if n.b.opts.profile == "" {
		return f()
	}
	if err := os.WriteFile(filepath.Join(n.b.opts.profile, nameFile), []byte(name), 0o600); err != nil {
		return err
	}
	n.cmd.Process.Signal(syscall.SIGUSR1)
	err := f()
	n.cmd.Process.Signal(syscall.SIGUSR2)
	time.Sleep(300 * time.Millisecond) // until they are written
	return err
}

// addVerifier makes a verifier's key as an operator does.
func (n *node) addVerifier() error {
	operator, err := os.ReadFile(filepath.Join(n.data, "operator.key"))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(n.b.ctx, http.MethodPost, n.url+"/admin/verifiers", strings.NewReader(`{"name":"bench"}`))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(operator)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var made struct {
		Key string `json:"key"`
	}
	if err := json.Unmarshal(body, &made); err != nil || made.Key == "" {
		return fmt.Errorf("making a verifier's key: %s: %s", resp.Status, body)
	}
	n.key = made.Key
	return nil
}

// fill inserts users with a live session each, and signs an access token for
// each of them with the store's own key.
func (n *node) fill(ctx context.Context, count int) (out []session, err error) {
	st, err := sqlite.Open(ctx, n.file(), sqlite.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := n.readKey(ctx, st); err != nil {
		return nil, err
	}
	now := time.Now()
	out = make([]session, count)
	ids := make([]string, count)
	for i := range ids {
		ids[i] = curfew.NewID()
	}
	slices.Sort(ids)
	for first := 0; first < count; first += batch {
		c := store.Change{At: now}
		for i := first; i < min(first+batch, count); i++ {
			u := curfew.NewID()
			name := fmt.Sprintf("user%d@bench.example", i)
			c.InsertUsers = append(c.InsertUsers, store.User{
				ID: u, Email: name, EmailFold: name, Name: "Some Body", PasswordHash: "!", Roles: []string{"member"},
				Status: store.UserActive, CreatedAt: now, UpdatedAt: now,
			})
			c.InsertSessions = append(c.InsertSessions, curfew.Session{
				ID: ids[i], Subject: u, ClientID: "web", CreatedAt: now, AuthTime: now, LastSeenAt: now,
				ExpiresAt: now.Add(30 * 24 * time.Hour), Device: "Firefox on Linux", IP: "192.0.2.1", UserAgent: userAgent,
				Counter: 1, RotatedAt: now, TokenExp: now.Add(tokenLife),
			})
			out[i] = session{ID: ids[i], Subject: u}
		}
		if _, err := st.Commit(ctx, c); err != nil {
			return nil, err
		}
	}
	return out, n.mint(out)
}

// tokenLife is longer than any run.
const tokenLife = time.Hour

// mint signs a new access token for each session, as a refresh would.
func (n *node) mint(list []session) error {
	now := time.Now().Unix()
	var g errgroup.Group
	part := (len(list) + runtime.NumCPU() - 1) / runtime.NumCPU()
	for mine := range slices.Chunk(list, max(part, 1)) {
		g.Go(func() error {
			for i := range mine {
				s := &mine[i]
				var err error
				s.Access, err = n.sign.Sign(token.Claims{
					Issuer: nodeIssuer, Audience: []string{nodeAudience}, Subject: s.Subject, Session: s.ID, ClientID: "web",
					ID: curfew.NewID(), Iat: now - 1, AuthTime: now - 1, Exp: now + int64(tokenLife/time.Second),
					Roles: []string{"member"}, Email: "somebody@bench.example",
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// readKey opens the signing key of the store, so that tokens can be made
// without a login for each.
func (n *node) readKey(ctx context.Context, st store.Store) error {
	master, err := seal.Load(filepath.Join(n.data, "master.key"))
	if err != nil {
		return err
	}
	keys, err := st.Keys(ctx)
	if err != nil {
		return err
	}
	var public []token.PublicKey
	for _, k := range keys {
		if k.Use != "sig" || k.Status != store.KeyActive {
			continue
		}
		plain, err := master.Open(k.Sealed, []byte(k.ID))
		if err != nil {
			return err
		}
		private, err := token.ParsePrivate(plain)
		if err != nil {
			return err
		}
		if n.sign, err = token.NewSigner(k.ID, token.Alg(k.Alg), private); err != nil {
			return err
		}
		public = append(public, n.sign.Public())
	}
	if n.sign == nil {
		return errors.New("the store has no signing key")
	}
	n.jwks = token.NewKeySet(public...).JWKS()
	return nil
}
