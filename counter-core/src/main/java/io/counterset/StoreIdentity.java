// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.util.UUID;

/**
 * Identifies a store over its whole life. A reader that remembers an identity and a count can tell
 * what has happened since. The same id with a higher incarnation means a restart. Another id means
 * that another store took its place. The same id with a lower count or incarnation means that an
 * old copy of the store was restored.
 *
 * @param id random, chosen when the store is created
 * @param incarnation how many times the store has been opened, including this time
 */
public record StoreIdentity(UUID id, long incarnation) {}
