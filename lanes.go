package lmipool

import (
	"context"

	"github.com/lmipool/lmipool/pool"
)

// Alone returns a ctx whose statements never share a connection with others (see Config.Lanes): each has a connection for itself. See [pool.Alone].
func Alone(ctx context.Context) context.Context { return pool.Alone(ctx) }
