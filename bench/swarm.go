package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/curfewhq/curfew/bench/rig"
)

// serveSwarm is the process of a swarm. It ends when its standard input does.
func serveSwarm(text string) error {
	var s rig.SwarmSetup
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	start := map[string]func(rig.SwarmSetup, *rig.Swarm) (stop func() error, err error){
		rig.Verifiers: startVerifiers, rig.Followers: startFollowers, rig.Subscribers: startSubscribers,
	}[s.Kind]
	if start == nil {
		return fmt.Errorf("there is no swarm of %q", s.Kind)
	}
	w := rig.NewSwarm(s.Count)
	stop, err := start(s, w)
	if err != nil {
		return err
	}
	return errors.Join(w.Serve(), stop())
}

// swarm is the process of a swarm as the generator sees it.
type swarm struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	to   *json.Encoder
	from *json.Decoder
}

func (b *bench) startSwarm(s rig.SwarmSetup) (*swarm, error) {
	exe, err := os.Executable()
	if s.Kind == rig.GoRedis {
		exe, err = b.binary("bench/peers")
	}
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	w := &swarm{cmd: exec.Command(exe)}
	w.cmd.Env = append(os.Environ(), rig.SwarmEnv+"="+string(text))
	w.cmd.Stderr = os.Stderr
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	w.to, w.from = json.NewEncoder(w.in), json.NewDecoder(out)
	if _, err := w.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %d %s: %w", s.Count, s.Kind, err), w.stop())
	}
	return w, nil
}

func (w *swarm) ask(c rig.SwarmCommand) (rig.SwarmReply, error) {
	if err := w.to.Encode(c); err != nil {
		return rig.SwarmReply{}, err
	}
	return w.read()
}

func (w *swarm) read() (rig.SwarmReply, error) {
	var r rig.SwarmReply
	if err := w.from.Decode(&r); err != nil {
		return r, fmt.Errorf("reading a swarm's reply: %w", err)
	}
	if r.Err != "" {
		return r, errors.New(r.Err)
	}
	return r, nil
}

// stop lets the members release their leases, and waits.
func (w *swarm) stop() error {
	w.in.Close()
	return w.cmd.Wait()
}

// delays returns how long after its publication each position was with the last
// member.
func delays(published map[int64]time.Time, r rig.SwarmReply) ([]time.Duration, error) {
	var out []time.Duration
	for pos, at := range published {
		i := pos - r.First
		if i < 0 || i >= int64(len(r.Last)) {
			return nil, fmt.Errorf("position %d was published but did not reach every member, which have %d to %d", pos, r.First, r.First+int64(len(r.Last))-1)
		}
		out = append(out, time.Duration(r.Last[i]-at.UnixNano()))
	}
	slices.Sort(out)
	return out, nil
}
