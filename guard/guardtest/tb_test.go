package guardtest_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
)

// t stands for the *testing.T that a test has and an example has not.
var t = &exampleT{}

type exampleT struct {
	testing.TB
	cleanups []func()
}

func (*exampleT) Helper()                      {}
func (*exampleT) Context() context.Context     { return context.Background() }
func (*exampleT) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
func (t *exampleT) Cleanup(f func())           { t.cleanups = append(t.cleanups, f) }

func TestMain(m *testing.M) {
	code := m.Run()
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
	os.Exit(code)
}
