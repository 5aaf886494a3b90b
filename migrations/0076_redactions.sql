-- Only a redaction redacts: earlier versions kept that key of any event, which anybody could write.
update events set redacts = null where redacts is not null and kind <> 'm.room.redaction';
