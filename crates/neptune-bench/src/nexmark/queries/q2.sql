-- Bids for a few of the auctions.
SELECT auction, price
FROM bid
WHERE auction % 123 = 0
