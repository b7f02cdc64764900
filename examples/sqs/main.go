// Command sqs is a function behind an SQS queue. Each record has its own transaction, all records of a batch are processed at once, and SQS delivers
// again only the records that failed. For that the event source mapping needs ReportBatchItemFailures.
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
