// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import java.lang.annotation.Documented;
import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/** The permission that a route needs, which determines the tokens that are accepted. */
enum Right {
    /** No token is needed. */
    NOTHING,
    /** Reads what peers also read. */
    COUNT,
    /** Reads. */
    READ,
    /** Adds. */
    WRITE,
    /** What only peers may do. */
    PEERS;

    /**
     * Declares the permission that a route needs. Without this annotation {@code GET} and
     * {@code HEAD} need {@link #READ}, and every other method except {@code OPTIONS} needs
     * {@link #WRITE}.
     */
    @Documented
    @Retention(RetentionPolicy.RUNTIME)
    @Target(ElementType.METHOD)
    @interface Needed {
        Right value();
    }
}
