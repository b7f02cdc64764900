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

// temporary marks what may go well later, as pgerr.Config does what waits for somebody to change configuration or
// rights: lmipool's Retryable looks for the method.
type temporary struct{ error }

func (e *temporary) Unwrap() error     { return e.error }
func (e *temporary) SafeToRetry() bool { return true }

// misconfiguredf is fmt.Errorf, marked by pgerr.Config.
func misconfiguredf(format string, args ...any) error {
	return pgerr.Config(fmt.Errorf(format, args...))
}

// temporaryf is fmt.Errorf, marked.
func temporaryf(format string, args ...any) error {
	return &temporary{fmt.Errorf(format, args...)}
}

// ofProvider marks err, whose text says that it is about credentials, by their provider's
// error cause. The SDK has tried again by then, so what is not clearly AWS's or the
// network's is that there are none, or that the role is not to be had.
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
