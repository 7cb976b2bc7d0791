-- Every bid as it is: what passing rows through costs.
SELECT auction, bidder, price, date_time, extra
FROM bid
