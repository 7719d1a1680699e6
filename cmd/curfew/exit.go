package main

import (
	"errors"
	"net/http"

	"github.com/spf13/cobra"
)

// The exit codes. Scripts depend on them.
const (
	exitOK           = 0
	exitFailure      = 1
	exitUsage        = 2
	exitUnavailable  = 3
	exitUnauthorised = 4
	exitNotFound     = 5
)

func exitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long: `Exit codes of curfew:

  0  done
  1  failed; for 'audit verify': the trail is broken; for 'doctor': a verifier or a
     probe failed or took longer than --max, or a check failed
  2  the command line or the configuration is wrong; nothing was done
  3  the authority does not answer, or says that it cannot serve now (503)
  4  not authorised: the operator key is missing, unknown or of another kind
  5  what was named does not exist`,
	}
}

// usageError is a command line or a configuration that cannot be carried out.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// unreachableError is an authority that does not answer.
type unreachableError struct{ error }

func (e *unreachableError) Unwrap() error { return e.error }

// keyError is an operator key that cannot be read.
type keyError struct{ error }

func (e *keyError) Unwrap() error { return e.error }

func exitCode(err error) int {
	var (
		usage       *usageError
		unreachable *unreachableError
		key         *keyError
		api         *apiError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &unreachable):
		return exitUnavailable
	case errors.As(err, &key):
		return exitUnauthorised
	case errors.As(err, &api):
		switch api.Status {
		case http.StatusUnauthorized, http.StatusForbidden:
			return exitUnauthorised
		case http.StatusNotFound:
			return exitNotFound
		case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
			return exitUnavailable
		}
	}
	return exitFailure
}
