package io.counterset.app;

import java.lang.annotation.Documented;
import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/** What a route lets a client do, and so which tokens open it if there are any. */
enum Right {
    /** Nothing that a token protects. */
    NOTHING,
    /** Reads what peers read, too. */
    COUNT,
    /** Reads. */
    READ,
    /** Adds. */
    WRITE,
    /** What only peers do. */
    PEERS;

    /** Says which right a route needs. Without it a {@code GET} needs {@link #READ}, and every other method {@link #WRITE}. */
    @Documented
    @Retention(RetentionPolicy.RUNTIME)
    @Target(ElementType.METHOD)
    @interface Needed {
        Right value();
    }
}
