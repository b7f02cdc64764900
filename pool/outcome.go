package pool

// OutcomeUnknown reports whether err, from a statement or a Commit, leaves open
// whether it has happened: it was sent, or may have been, and the server's answer
// was lost, because the connection broke or ctx ended. A write with such an error
// must not simply be sent again; look whether it is there, or make it idempotent.
//
// It is true for an error that ended the session (FATAL, such as 57P01), which may have come
// after a commit. It is false when the server said no in any other way (nothing has happened;
// what a procedure, or a text of several statements, has committed on its way stays). It is false
// for a statement that was cancelled in time because its ctx had ended: the server's
// 57014 is in the error's chain beside the ctx's. It is false, too, when nothing was
// sent: [*AcquireError], [ErrClosed], [ErrInvocationEnded] before the call,
// pgconn.SafeToRetry. A bare ctx error counts as unknown, since a statement may have
// been under way when the ctx ended. lmipool itself never sends a write twice.
//
// [Retryable] has the table of all classes.
func OutcomeUnknown(err error) bool { return classify(err, wasSent, true) == classUnknown }

// sentError is a reason for which nobody is told the answer to what was sent.
type sentError struct{ error }

func (e *sentError) Unwrap() error { return e.error }
