package pool

import "github.com/lmipool/lmipool/internal/pgerr"

// partly is what is known of what a call, or its transaction, may have committed before it failed. The connection's owner's.
type partly struct {
	base   int32 // how many commits the wire had heard when the call began, or the transaction that it is in
	may    bool  // it runs what may commit on its way, of which the wire hears nothing
	inside bool  // it is in a transaction of pgx's
}

// partlyDone is err for a call of which something may have been committed.
func partlyDone(err error) error {
	if err == nil || !Retryable(err) {
		return err
	}
	return pgerr.PartlyDone(err)
}

// calls notes that a call begins.
func (c *conn) calls() {
	c.partly.may = false
	if !c.partly.inside {
		c.partly.base = c.wire.CommitsOutside()
	}
}

// begunTx notes that a transaction of pgx's has begun.
func (c *conn) begunTx() { c.partly = partly{inside: true, base: c.wire.Commits()} }

// endedTx notes that there may be none any more.
func (c *conn) endedTx() { c.partly.inside = c.partly.inside && c.pg.PgConn().TxStatus() != 'I' }

// runs notes that a call is going to run what commits on its way, or may. Inside a transaction nothing but COMMIT commits, and
// the wire hears that.
func (c *conn) runs(commits bool) {
	c.partly.may = c.partly.may || commits && c.pg.PgConn().TxStatus() == 'I'
}

// committed is err, of the last call, with what is known of what was committed before it.
func (c *conn) committed(err error) error {
	may := c.partly.may && c.wire.Executed() && !c.wire.RefusedUnbound()
	if pgerr.DidNotRun(err) || !may && c.wire.Commits() == c.partly.base {
		return err
	}
	return partlyDone(err)
}
