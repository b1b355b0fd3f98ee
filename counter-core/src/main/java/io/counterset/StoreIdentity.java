package io.counterset;

import java.util.UUID;

/**
 * Which store this is, over its whole life. A reader that remembers an identity and a count can tell what happened in
 * between: the same id and a higher incarnation is a restart, another id is another store in its place, and the same id
 * with a lower count or incarnation is an old copy of it.
 *
 * @param id random, drawn when the directory is first used
 * @param incarnation how many times the store has been opened, this time included
 */
public record StoreIdentity(UUID id, long incarnation) {}
