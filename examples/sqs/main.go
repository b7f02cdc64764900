// Command sqs is a function behind an SQS queue. Each record has a transaction of
// its own, all records of a batch are worked on at once, and only those that failed
// come again (the event source mapping needs ReportBatchItemFailures).
package main

import (
	"context"
	"log"

	"github.com/lmipool/lmipool"
)

func main() {
	db, err := lmipool.Open(context.Background(), "", nil)
	if err != nil {
		log.Fatal(err)
	}
	lmipool.Start(db, Orders(db))
}
