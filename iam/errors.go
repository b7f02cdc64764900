package iam

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// temporary marks an error after which a later try may succeed: lmipool's Retryable looks for its method SafeToRetry. The opposite is pgerr.Config,
// for errors that last until somebody changes configuration or rights.
type temporary struct{ error }

func (e *temporary) Unwrap() error     { return e.error }
func (e *temporary) SafeToRetry() bool { return true }

// misconfiguredf is fmt.Errorf, marked by pgerr.Config.
func misconfiguredf(format string, args ...any) error {
	return pgerr.Config(fmt.Errorf(format, args...))
}

// temporaryf is fmt.Errorf, marked by temporary.
func temporaryf(format string, args ...any) error {
	return &temporary{fmt.Errorf(format, args...)}
}

// ofProvider marks err, which wraps the credentials provider's error cause, as temporary or as a misconfiguration. The SDK has made its own retries
// before. So an error that is not clearly AWS's or the network's means that there are no credentials, or that the role cannot be assumed.
func ofProvider(err, cause error) error {
	var netErr net.Error
	var status interface{ HTTPStatusCode() int }
	var code interface{ ErrorCode() string }
	if errors.As(cause, &netErr) || errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) ||
		errors.As(cause, &status) && (status.HTTPStatusCode() >= http.StatusInternalServerError || status.HTTPStatusCode() == http.StatusTooManyRequests) ||
		errors.As(cause, &code) && strings.Contains(code.ErrorCode(), "Throttl") {
		return &temporary{err}
	}
	return pgerr.Config(err)
}
