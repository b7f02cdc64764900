package lmipool

import (
	"context"

	"github.com/lmipool/lmipool/pool"
)

// Alone returns a ctx whose statements never share a connection with others (see Config.Lanes): each has a connection for itself. See [pool.Alone].
func Alone(ctx context.Context) context.Context { return pool.Alone(ctx) }

// WithRoute returns a ctx for what runs on behalf of route, such as "orders.get": the server shows "lmipool/<id>/<route>" as the application_name of what goes
// alone. It costs no round trip. See [pool.WithRoute].
func WithRoute(ctx context.Context, route string) context.Context { return pool.WithRoute(ctx, route) }
