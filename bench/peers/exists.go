package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/bench/rig"
	"github.com/curfewhq/curfew/internal/denylist"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

const (
	million = 1_000_000
	askFor  = 10_000 // different tokens that nobody revoked
	rounds  = 15
	perSet  = 200_000 // look-ups in a round
	perCall = 2_000   // calls in a round
	crowd   = 16      // callers at once
)

// exists compares the two questions alone, in one process and in turn: is this
// session among a million revoked ones? It prints medians of the rounds.
func exists(ctx context.Context, s rig.Setup) error {
	client := redis.NewClient(&redis.Options{Addr: s.Redis})
	defer client.Close()
	// One command fills Redis, and takes a second.
	if err := client.Do(ctx, "DEBUG", "POPULATE", million, "revoked").Err(); err != nil {
		return fmt.Errorf("filling Redis: %w", err)
	}
	set := denylist.New()
	expires := time.Now().Add(time.Hour)
	for i := range million {
		set.Apply(curfew.Revocation{Seq: curfew.Seq(i + 1), Kind: curfew.KindSession, Target: curfew.NewID(), ExpiresAt: expires})
	}
	tokens := make([]denylist.Levels, askFor)
	keys := make([]string, askFor)
	for i := range tokens {
		tokens[i] = denylist.Levels{
			Key: "jZ9rkaDmNnyMRbH4", Client: "web", Subject: curfew.NewID(), Session: curfew.NewID(), Token: curfew.NewID(), Ver: million,
		}
		keys[i] = "revoked:" + tokens[i].Session
	}
	inSet := func(n int) error {
		for i := range n {
			if err := set.Check(tokens[i%askFor]); err != nil {
				return err
			}
		}
		return nil
	}
	inRedis := func(n int) error {
		for i := range n {
			found, err := client.Exists(ctx, keys[i%askFor]).Result()
			if err != nil || found != 0 {
				return fmt.Errorf("EXISTS: %d, %w", found, err)
			}
		}
		return nil
	}
	var out answer
	for _, callers := range []int{1, crowd} {
		var a, b []float64
		for range rounds {
			took, err := each(callers, perSet, inSet)
			if err != nil {
				return err
			}
			a = append(a, took)
			if took, err = each(callers, perCall, inRedis); err != nil {
				return err
			}
			b = append(b, took)
		}
		slices.Sort(a)
		slices.Sort(b)
		out.Callers = append(out.Callers, callers)
		out.Set, out.Redis = append(out.Set, a[rounds/2]), append(out.Redis, b[rounds/2])
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// answer is how long a question takes, in nanoseconds as a caller sees it, where
// so many ask at once. With more callers than processors they wait for those
// too, on either side.
type answer struct {
	Callers    []int
	Set, Redis []float64
}

// each returns how long one question takes where callers ask n each.
func each(callers, n int, ask func(n int) error) (float64, error) {
	var g errgroup.Group
	begin := time.Now()
	for range callers {
		g.Go(func() error { return ask(n) })
	}
	err := g.Wait()
	return float64(time.Since(begin)) / float64(n), err
}
