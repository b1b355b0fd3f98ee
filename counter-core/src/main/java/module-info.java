/** Durable counters in one directory, with no dependency but the JDK. */
module io.counterset {
    requires static org.jspecify;

    exports io.counterset;
}
