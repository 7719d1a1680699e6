package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/curfewhq/curfew/bench/rig"
	"github.com/redis/go-redis/v9"
)

// subscribers is a swarm of subscribers as the library's documentation shows
// them, each with a connection of its own as the processes of a service have.
func subscribers(ctx context.Context, text string) error {
	var s rig.SwarmSetup
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	if s.Kind != rig.GoRedis {
		return fmt.Errorf("there is no swarm of %q", s.Kind)
	}
	client := redis.NewClient(&redis.Options{Addr: s.Addr})
	defer client.Close()
	w := rig.NewSwarm(s.Count)
	for i := range s.Count {
		sub := client.Subscribe(ctx, rig.Channel)
		defer sub.Close()
		if _, err := sub.Receive(ctx); err != nil { // that it is subscribed
			return err
		}
		m := w.Member(i)
		go func() {
			noted := int64(0)
			for msg := range sub.Channel() {
				head, _, _ := strings.Cut(msg.Payload, " ")
				pos, err := strconv.ParseInt(head, 10, 64)
				if err != nil {
					w.Fail(errors.New("a message without a number"))
					return
				}
				if noted != 0 && pos != noted+1 {
					w.Fail(fmt.Errorf("message %d after %d: the library has dropped some", pos, noted))
					return
				}
				m.Arrived(pos-1, pos)
				noted = pos
			}
		}()
	}
	return w.Serve()
}
