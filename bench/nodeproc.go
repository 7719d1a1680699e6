package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"syscall"

	"github.com/curfewhq/curfew/internal/app"
	"github.com/curfewhq/curfew/internal/config"
)

// nodeEnv tells this program that it is an authority with a profiler, and of
// what.
const nodeEnv = "BENCH_NODE"

// nameFile, in the directory of the profiles, says what the next is called.
const nameFile = "next-profile"

type nodeSetup struct{ Data, Addr, Profiles string }

func (s nodeSetup) text() string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // it is three texts
	}
	return string(b)
}

// serveNode is `curfew serve`. SIGUSR1 begins a profile and SIGUSR2 ends it.
func serveNode(text string) error {
	var s nodeSetup
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	go s.profile()
	c, err := config.Load(config.Sources{Flags: map[string]string{"data": s.Data, "listen": s.Addr, "public_url": nodeIssuer}})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	started := s.begin("start-" + filepath.Base(s.Data))
	return app.Serve(ctx, c, app.Options{
		Version: "bench", Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Ready: func(app.Running) { started() },
	})
}

func (s nodeSetup) profile() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	end := func() {}
	for got := range signals {
		if got == syscall.SIGUSR2 {
			end()
			continue
		}
		name, err := os.ReadFile(filepath.Join(s.Profiles, nameFile))
		if err == nil {
			end = s.begin(string(name))
		}
	}
}

// begin starts a CPU profile and returns what ends it and adds one of the heap.
func (s nodeSetup) begin(name string) func() {
	cpu, err := os.Create(filepath.Join(s.Profiles, name+".cpu.pprof"))
	if err != nil {
		slog.Error("no profile", "err", err)
		return func() {}
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		slog.Error("no profile", "err", err)
	}
	return func() {
		pprof.StopCPUProfile()
		cpu.Close()
		heap, err := os.Create(filepath.Join(s.Profiles, name+".heap.pprof"))
		if err != nil {
			slog.Error("no profile", "err", err)
			return
		}
		defer heap.Close()
		if err := pprof.WriteHeapProfile(heap); err != nil {
			slog.Error("no profile", "err", err)
		}
	}
}
