package fleet

import (
	"math"
	"time"
)

// budget is what a fleet divides.
type budget struct {
	free   int  // connections, without those of others
	others int  // the role's other backends
	hard   bool // whether the server refuses what is above the budget
}

// settled returns the share of each of n members that have counted each other.
func (b budget) settled(n int) int {
	return max(1, min(b.free/(n+1), (b.free-b.arrivals(n))/n))
}

// newcomer returns the share of one of n members of which young are newcomers. The others may have counted before any newcomer came, and hold their
// shares of that time. What they leave is room for newcomers. At least half of it stays for first connections. The other half is divided so that the sum
// fits even if each newcomer counts before the next one comes: the k-th takes 1/(k(k+1)) of it, and these fractions add up to less than 1.
func (b budget) newcomer(n, young int) int {
	old, young := max(0, n-young), max(1, young)
	room := b.free
	if old > 0 {
		room -= old * b.settled(old)
	}
	room -= max(b.arrivals(old), room/2)
	return 1 + max(0, room)/(young*(young+1))
}

// arrivals returns how many newcomers may come within one lease after n members were counted. Each of them opens one connection before it knows of the
// others. If the server refuses what is above the budget, these are those that come when the fleet doubles in doubling. Otherwise they are those that a
// deployment starts at one moment. These may be n. Of the room for n the role's other backends may take up to a half, since they rarely have the most
// that they had lately just then.
func (b budget) arrivals(n int) int {
	if !b.hard {
		return max(1, n-b.others, (n+1)/2)
	}
	return max(1, int(math.Ceil(float64(n)*(math.Exp2(float64(Lease(n))/float64(doubling))-1))))
}

// members returns how many members there may be at age after n were counted: n within a lease. Then it doubles in the time in which AWS lets a fleet
// double. A small fleet may double by a jump, which newcomers take for counted when they are [newcomers] no more.
func members(n int, age time.Duration) int {
	late := age - Lease(n)
	if late <= 0 {
		return n
	}
	every := interval(n).Seconds()
	return int(math.Ceil(float64(n) * math.Exp2(min(20, late.Seconds()/min(doubling.Seconds(), every*every/4)))))
}

// grace returns how long a member is a newcomer. Each other member has then counted it, or knows that its own count is too old. Where the server does
// not refuse what is above the budget, it is as long as a small fleet's members take, without a count, to expect a fleet twice as large.
func grace(n int, hard bool) time.Duration {
	if hard {
		return Lease(n)
	}
	return 3 * interval(n)
}

// doubling is the time in which AWS lets a fleet double.
const doubling = 5 * time.Minute

// peak is the largest number seen lately.
type peak struct {
	value int
	at    time.Time
}

// forget is how long a peak holds after it was last reached.
const forget = 5 * time.Minute

func (p *peak) saw(n int, now time.Time) {
	if n >= p.max(now) {
		p.value, p.at = n, now
	}
}

// max returns the peak, which falls to 0 in the second forget after it was reached.
func (p *peak) max(now time.Time) int {
	late := now.Sub(p.at) - forget
	if late <= 0 {
		return p.value
	}
	return int(math.Ceil(float64(p.value) * max(0, 1-float64(late)/float64(forget))))
}
