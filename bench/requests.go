package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/curfewhq/curfew/bench/rig"
)

// service is a process of bench/service or bench/peers.
type service struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	to   *json.Encoder
	from *json.Decoder
	addr string
}

// startService starts a service. dir is where its program is.
func (b *bench) startService(dir string, s rig.Setup) (*service, error) {
	exe, err := b.binary(dir)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	v := &service{name: s.Variant, cmd: exec.CommandContext(b.ctx, exe)}
	v.cmd.Env = append(os.Environ(), rig.Env+"="+string(text))
	v.cmd.Stderr = os.Stderr
	if v.in, err = v.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := v.cmd.Start(); err != nil {
		return nil, err
	}
	v.to, v.from = json.NewEncoder(v.in), json.NewDecoder(out)
	r, err := v.read()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the service %s: %w", s.Variant, err), v.stop())
	}
	v.addr = r.Addr
	return v, nil
}

func (v *service) pid() int { return v.cmd.Process.Pid }

func (v *service) ask(c rig.Command) (rig.Reply, error) {
	if err := v.to.Encode(c); err != nil {
		return rig.Reply{}, err
	}
	return v.read()
}

func (v *service) read() (rig.Reply, error) {
	var r rig.Reply
	if err := v.from.Decode(&r); err != nil {
		return r, fmt.Errorf("reading a service's reply: %w", err)
	}
	if r.Err != "" {
		return r, errors.New(r.Err)
	}
	return r, nil
}

func (v *service) stop() error {
	v.in.Close()
	return v.cmd.Wait()
}

// callOnce calls the service with each token, outside of any measurement.
func callOnce(v *service, tokens []session) error {
	c, err := dial(v.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, t := range tokens {
		status, body, err := c.do(appendRequest(nil, "GET", "/", t.Access, "", nil))
		if err != nil {
			return err
		}
		if status != 200 {
			return unexpected("the service "+v.name, status, body)
		}
	}
	return nil
}

// callService calls the service with the given tokens in turn; with once, each of
// them once.
func (b *bench) callService(v *service, clients int, tokens []session, once bool, profile string) (m measured, err error) {
	list, err := open(v.addr, clients, func(i int) func(*conn) error {
		var request []byte
		next := i
		return func(c *conn) error {
			if next >= len(tokens) {
				if once {
					return errDone
				}
				next = i
			}
			request = appendRequest(request[:0], "GET", "/", tokens[next].Access, "", nil)
			next += clients
			status, body, err := c.do(request)
			if err == nil && (status != 200 || !bytes.Equal(body, []byte("hello\n"))) {
				err = unexpected("the service "+v.name, status, body)
			}
			return err
		}
	})
	if err != nil {
		return m, err
	}
	defer closeAll(list)
	if b.opts.profile != "" && profile != "" {
		file, err := filepath.Abs(filepath.Join(b.opts.profile, profile+".cpu.pprof"))
		if err != nil {
			return m, err
		}
		if _, err := v.ask(rig.Command{ProfileTo: file}); err != nil {
			return m, err
		}
		defer v.ask(rig.Command{ProfileDone: true})
	}
	return load(b.ctx, b.length(), v.pid(), list)
}

// serviceHeap is what every service holds beside its check, see rig.Setup.
const serviceHeap = 64

// allNewPerSecond is more than any check does with tokens it has not seen.
const allNewPerSecond = 20_000

// variants are the checks that are compared, (a) to (e) of the issue.
var variants = []struct {
	name, dir, path string
}{
	{"none", "bench/service", "no authentication; the same headers"},
	{"guard", "bench/service", "guard, 10,000 live revocations"},
	{"jwt", "bench/peers", "golang-jwt: signature, issuer, audience, expiry; no revocation"},
	{"redis", "bench/peers", "golang-jwt and EXISTS by go-redis"},
	{"introspection", "bench/service", "POST /introspect at the authority (curfew serve)"},
}

// requests is the same handler behind different checks, in turn: each round
// visits all of them.
func (b *bench) requests() error {
	node, warm, err := b.newNode(knownTokens, 10_000)
	if err != nil {
		return err
	}
	defer node.stop()
	redis, err := b.startRedis()
	if err != nil {
		return err
	}
	defer redis.stop()
	services := map[string]*service{}
	for _, v := range variants {
		s, err := b.startService(v.dir, rig.Setup{
			Variant: v.name, Authority: node.url, Key: node.key, Issuer: nodeIssuer, Audience: nodeAudience, JWKS: node.jwks,
			Redis: redis.addr, HeapMiB: serviceHeap,
		})
		if err != nil {
			return err
		}
		defer s.stop()
		services[v.name] = s
		// Once through, so that what is to be warm is warm.
		if err := callOnce(s, warm); err != nil {
			return err
		}
	}
	for _, kind := range []string{"warm", "all new"} {
		for _, clients := range []int{1, 16} {
			if err := b.compare(node, services, kind, clients, warm, redis.version()); err != nil {
				return err
			}
		}
	}
	return b.exists(redis)
}

// compare adds the rows of one kind of tokens and one number of clients.
func (b *bench) compare(node *node, services map[string]*service, kind string, clients int, warm []session, version string) error {
	rounds := map[string][]measured{}
	for range b.opts.rounds {
		tokens := warm
		if kind != "warm" {
			// New tokens of the same sessions, as refreshes give them out. A
			// check that remembers nothing may see the same again.
			tokens = make([]session, allNewPerSecond*(b.opts.seconds+1))
			for i := range tokens {
				tokens[i] = warm[i%len(warm)]
			}
			if err := node.mint(tokens); err != nil {
				return err
			}
		}
		for _, v := range variants {
			m, err := b.callService(services[v.name], clients, tokens, kind != "warm" && v.name != "none", fmt.Sprintf("requests-%s-%s-%d", v.name, kind[:3], clients))
			if err != nil {
				return err
			}
			rounds[v.name] = append(rounds[v.name], m)
		}
	}
	rows := map[string]result{}
	for _, v := range variants {
		path := v.path
		if v.name == "redis" {
			path += "; " + version
		}
		rows[v.name] = summarize(result{Scenario: "requests", What: v.name + ", " + kind, Path: path, Clients: clients}, rounds[v.name])
	}
	guard := rows["guard"]
	// Both sides of a ratio are of one round: other work on the machine comes
	// and goes.
	ratio := func(to string) float64 {
		var all []float64
		for i, m := range rounds["guard"] {
			all = append(all, m.rate()/rounds[to][i].rate())
		}
		slices.Sort(all)
		return all[(len(all)-1)/2]
	}
	guard.Value = fmt.Sprintf("%.2f of none, %.2f × jwt, %.2f × redis, %.1f × introspection", ratio("none"), ratio("jwt"), ratio("redis"), ratio("introspection"))
	if kind == "warm" {
		guard = guard.target("≥ 0.85 of none, ≥ 4.5 × redis; is "+guard.Value, ratio("none") >= 0.85 && ratio("redis") >= 4.5)
	} else {
		guard = guard.target("≥ jwt; is "+guard.Value, ratio("jwt") >= 1)
	}
	rows["guard"] = guard
	for _, v := range variants {
		b.add(rows[v.name])
	}
	return nil
}

// exists compares the question "is it revoked" alone, in one process.
func (b *bench) exists(redis *redisServer) error {
	exe, err := b.binary("bench/peers")
	if err != nil {
		return err
	}
	text, err := json.Marshal(rig.Setup{Variant: "exists", Redis: redis.addr})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(b.ctx, exe)
	cmd.Env = append(os.Environ(), rig.Env+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("comparing the look-ups: %w", err)
	}
	var took struct {
		Callers    []int
		Set, Redis []float64
	}
	if err := json.Unmarshal(out, &took); err != nil {
		return err
	}
	const among = "; 10,000 live sessions in turn, 1,000,000 revoked ones"
	for i, callers := range took.Callers {
		set, inRedis := took.Set[i], took.Redis[i]
		b.add(result{Scenario: "requests", What: "revocation check alone", Path: "EXISTS by go-redis over loopback" + among, Clients: callers, P50: time.Duration(inRedis)})
		b.add(result{
			Scenario: "requests", What: "revocation check alone", Path: "denylist.Check: session, token, subject, client, key, everything" + among, Clients: callers,
			Value: fmt.Sprintf("%.0f ns", set),
		}.target(fmt.Sprintf("≥ 1,000 times less; is %.0f", inRedis/set), inRedis >= 1000*set))
	}
	return nil
}
