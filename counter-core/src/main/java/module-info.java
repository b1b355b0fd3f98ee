// SPDX-License-Identifier: Apache-2.0
/** Durable counters in one directory. Needs only the JDK. */
module io.counterset {
    requires static org.jspecify;

    exports io.counterset;
}
