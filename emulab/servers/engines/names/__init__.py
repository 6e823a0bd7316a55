"""What makes of name servers share: `hosting` runs them, `zonefiles` has the records that they are told."""
