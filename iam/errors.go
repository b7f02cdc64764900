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

// temporary marks an error after which a later try may succeed: lmipool's Retryable looks for the method SafeToRetry. pgerr.Config marks the other
// errors, which last until somebody changes configuration or rights.
type temporary struct{ error }

func (e *temporary) Unwrap() error     { return e.error }
func (e *temporary) SafeToRetry() bool { return true }

// misconfiguredf is fmt.Errorf whose error pgerr.Config marks.
func misconfiguredf(format string, args ...any) error {
	return pgerr.Config(fmt.Errorf(format, args...))
}

// temporaryf is fmt.Errorf whose error temporary marks.
func temporaryf(format string, args ...any) error {
	return &temporary{fmt.Errorf(format, args...)}
}

// ofProvider marks err, which wraps the credentials provider's error cause, as temporary or as a misconfiguration. The SDK has already retried. So an
// error that does not clearly come from AWS or the network means that there are no credentials, or that the role cannot be assumed.
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
