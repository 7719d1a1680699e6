package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync/atomic"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/feed/feedhttp"
)

// hubEnv tells this program that it is the authority's end of the feed alone,
// without store and accounts: what costs a verifier something comes from there.
const hubEnv = "BENCH_HUB"

type hubSetup struct {
	Issuer  string
	JWKS    []byte
	Entries int // live revocations to begin with
}

type hubCommand struct {
	Rate int // new revocations per second from now on
}

type hubReply struct {
	Addr string
	Seq  int64
	Err  string `json:",omitempty"`
}

// serveHub is the process of a hub. It ends when its standard input does.
func serveHub(text string) error {
	var s hubSetup
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	at := curfew.Position{LogID: curfew.NewID()}
	hub := feed.NewHub(feed.HubConfig{}, feed.Base{Log: at.LogID})
	appendNew := func(n int) {
		page := make([]curfew.Revocation, n)
		now := time.Now()
		for i := range page {
			r := &page[i]
			*r = curfew.Revocation{
				Seq: at.Seq + 1, Kind: curfew.KindSession, Target: curfew.NewID(), Reason: curfew.ReasonUser,
				RecordedAt: now, ExpiresAt: now.Add(time.Hour),
			}
			r.Hash = r.Chain(at.Hash)
			at.Seq, at.Hash = r.Seq, r.Hash
		}
		hub.Append(page, at)
	}
	for left := s.Entries; left > 0; left -= 1000 {
		appendNew(min(left, 1000))
	}
	hub.Loaded()
	hub.SetKeys(s.Issuer, "bench", s.JWKS)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go hub.Run(ctx)

	mux := http.NewServeMux()
	mux.HandleFunc("POST /feed/poll", func(w http.ResponseWriter, r *http.Request) {
		p, err := feedhttp.ReadPoll(w, r)
		var g *feed.Grant
		if err == nil {
			g, err = hub.Poll(r.Context(), "bench", p)
		}
		switch {
		case errors.Is(err, feed.ErrSnapshotRequired):
			w.WriteHeader(http.StatusConflict)
			io.WriteString(w, `{"error_code":"snapshot_required"}`)
		case err != nil:
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		default:
			feedhttp.WriteGrant(w, g)
		}
	})
	mux.HandleFunc("GET /feed/snapshot", func(w http.ResponseWriter, r *http.Request) {
		if err := feedhttp.WriteSnapshot(w, r, hub.Snapshot()); err != nil {
			fmt.Fprintln(os.Stderr, "bench hub: snapshot:", err)
		}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go http.Serve(l, mux)

	var rate atomic.Int64
	seq := make(chan int64)
	go func() {
		tick := time.NewTicker(time.Millisecond)
		owed, last := 0.0, time.Now()
		for {
			select {
			case seq <- int64(at.Seq):
			case now := <-tick.C:
				owed = min(owed+now.Sub(last).Seconds()*float64(rate.Load()), 1000)
				last = now
				if n := int(owed); n > 0 {
					appendNew(n)
					owed -= float64(n)
				}
			}
		}
	}()
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	if err := out.Encode(hubReply{Addr: l.Addr().String()}); err != nil {
		return err
	}
	for {
		var c hubCommand
		if err := in.Decode(&c); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		rate.Store(int64(c.Rate))
		if err := out.Encode(hubReply{Seq: <-seq}); err != nil {
			return err
		}
	}
}

// hubProc is the process of a hub as the generator sees it.
type hubProc struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	to   *json.Encoder
	from *json.Decoder
	url  string
}

func startHub(s hubSetup) (*hubProc, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	h := &hubProc{cmd: exec.Command(exe)}
	h.cmd.Env = append(os.Environ(), hubEnv+"="+string(text))
	h.cmd.Stderr = os.Stderr
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	h.to, h.from = json.NewEncoder(h.in), json.NewDecoder(out)
	var r hubReply
	if err := h.from.Decode(&r); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the hub: %w", err), h.stop())
	}
	h.url = "http://" + r.Addr
	return h, nil
}

// rate sets how many revocations per second arrive from now on, and returns the
// position of the last one.
func (h *hubProc) rate(n int) (int64, error) {
	if err := h.to.Encode(hubCommand{Rate: n}); err != nil {
		return 0, err
	}
	var r hubReply
	err := h.from.Decode(&r)
	return r.Seq, err
}

func (h *hubProc) stop() error {
	h.in.Close()
	return h.cmd.Wait()
}
