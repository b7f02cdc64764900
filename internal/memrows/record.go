package memrows

import "github.com/jackc/pgx/v5/pgtype"

// recordCodec decodes anonymous records, as row(…) makes them, with types of the copy of
// a Map that it belongs to: which these are says only the record.
type recordCodec struct {
	pgtype.RecordCodec
	types *codecs
}

// adopt makes the types of what is inside record the copy's own.
func (c recordCodec) adopt(m *pgtype.Map, format int16, record []byte) {
	if m != c.types.Map || format != pgtype.BinaryFormatCode || record == nil { // m: a copy that a user has made of ours
		return
	}
	for s := pgtype.NewCompositeBinaryScanner(m, record); s.Next(); {
		if t, ok := m.TypeForOID(s.OID()); ok {
			c.types.adopt(s.OID(), t)
		}
	}
}

func (c recordCodec) DecodeValue(m *pgtype.Map, oid uint32, format int16, src []byte) (any, error) {
	c.adopt(m, format, src)
	return c.RecordCodec.DecodeValue(m, oid, format, src)
}

func (c recordCodec) PlanScan(m *pgtype.Map, oid uint32, format int16, target any) pgtype.ScanPlan {
	next := c.RecordCodec.PlanScan(m, oid, format, target)
	if next == nil {
		return nil
	}
	return &recordPlan{codec: c, m: m, format: format, next: next}
}

// recordPlan scans a record into a destination that takes its values one by one.
type recordPlan struct {
	codec  recordCodec
	m      *pgtype.Map
	format int16
	next   pgtype.ScanPlan
}

func (p *recordPlan) Scan(src []byte, target any) error {
	p.codec.adopt(p.m, p.format, src)
	return p.next.Scan(src, target)
}
