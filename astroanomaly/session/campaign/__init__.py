"""Several people who judge the objects of a session: their lists, what they were shown, and volunteers."""
