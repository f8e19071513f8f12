#!/usr/bin/env python3
"""A ledger of a web shop's customers, exactly once: a handler in Python for `annals handle`.

    annals import shop online-retail.ndjson.zst --stream 'customer-{CustomerID}' --type sold
    annals handle shop --name ledger --key '{CustomerID}' --exec 'python3 examples/ledger.py'

Whatever is killed and whenever: run it again, and it goes on where it was. Each line of the shop is counted once, and
each return is put out once, as the event `Returned`. Money is in thousandths, as whole numbers.
"""
import json
import sys

for line in sys.stdin:
    task = json.loads(line)
    sale, ledger = task["event"]["data"], task["state"] or {"lines": 0, "quantity": 0, "amount": 0}
    amount = sale["Quantity"] * round(sale["UnitPrice"] * 1000)
    answer = {"state": {
        "lines": ledger["lines"] + 1,
        "quantity": ledger["quantity"] + sale["Quantity"],
        "amount": ledger["amount"] + amount,
        "last": sale["InvoiceNo"],
    }}
    if sale["InvoiceNo"].startswith("C"):
        returned = {"invoice": sale["InvoiceNo"], "quantity": sale["Quantity"], "amount": amount}
        answer["emit"] = [{"stream": "returns-" + task["key"], "type": "Returned", "data": returned}]
    print(json.dumps(answer))
