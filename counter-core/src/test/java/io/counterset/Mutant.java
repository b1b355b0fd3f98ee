// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.StringWriter;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import javax.tools.FileObject;
import javax.tools.ForwardingJavaFileManager;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileManager;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.ToolProvider;
import org.jspecify.annotations.NullMarked;

/**
 * The engine with a deliberate fault: its sources, changed and compiled in memory, in a class
 * loader that also holds the tests. So production code needs no switch for tests, and the tests run
 * unchanged.
 */
final class Mutant {

    private static final Path SOURCES = Path.of("src/main/java/io/counterset");

    private final Map<String, String> sources = new LinkedHashMap<>();

    /** Replaces a piece of the source of a class. The piece must occur exactly once. */
    Mutant change(Class<?> type, String from, String to) {
        String source = sources.computeIfAbsent(type.getSimpleName(), Mutant::source);
        int at = source.indexOf(from);
        if (at < 0 || source.indexOf(from, at + 1) >= 0) {
            throw new IllegalStateException(type.getSimpleName() + ".java has " + (at < 0 ? "no" : "more than one")
                    + " piece to break:\n" + from + "\nThe engine has changed: adapt the break.");
        }
        sources.put(type.getSimpleName(), source.replace(from, to));
        return this;
    }

    private static String source(String type) {
        try {
            return Files.readString(SOURCES.resolve(type + ".java"));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Returns a class of this package, such as a test, linked against the broken engine. */
    Class<?> load(Class<?> type) throws ClassNotFoundException {
        return load(type, code -> code);
    }

    /**
     * Like {@link #load(Class)}, but rewrites the byte code of every class of this package before
     * loading it.
     */
    Class<?> load(Class<?> type, UnaryOperator<byte[]> rewrite) throws ClassNotFoundException {
        return new Loader(compile(), rewrite).loadClass(type.getName());
    }

    private Map<String, byte[]> compile() {
        if (sources.isEmpty()) {
            return Map.of();
        }
        JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
        StringWriter messages = new StringWriter();
        Map<String, ByteArrayOutputStream> compiled = new HashMap<>();
        List<JavaFileObject> units = sources.entrySet().stream()
                .map(unit -> (JavaFileObject) new Source(unit.getKey(), unit.getValue()))
                .toList();
        List<String> options = List.of(
                "-proc:none",
                "-classpath",
                place(Mutant.class, CounterStore.class)
                        + System.getProperty("path.separator")
                        + place(Mutant.class, NullMarked.class));
        try (JavaFileManager files =
                new ForwardingJavaFileManager<>(compiler.getStandardFileManager(null, null, null)) {
                    @Override
                    public JavaFileObject getJavaFileForOutput(
                            Location location, String name, JavaFileObject.Kind kind, FileObject sibling) {
                        ByteArrayOutputStream out = new ByteArrayOutputStream();
                        compiled.put(name, out);
                        return new SimpleJavaFileObject(URI.create("mem:///" + name.replace('.', '/')), kind) {
                            @Override
                            public OutputStream openOutputStream() {
                                return out;
                            }
                        };
                    }
                }) {
            if (!compiler.getTask(messages, files, null, options, null, units).call()) {
                throw new IllegalStateException("the broken engine does not compile:\n" + messages);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        Map<String, byte[]> classes = new HashMap<>();
        compiled.forEach((name, out) -> classes.put(name, out.toByteArray()));
        return classes;
    }

    private static String place(Class<?> by, Class<?> type) {
        try {
            return Path.of(type.getProtectionDomain()
                            .getCodeSource()
                            .getLocation()
                            .toURI())
                    .toString();
        } catch (java.net.URISyntaxException e) {
            throw new IllegalStateException(by.getName(), e);
        }
    }

    private static final class Source extends SimpleJavaFileObject {
        private final String text;

        Source(String type, String text) {
            super(URI.create("mem:///io/counterset/" + type + ".java"), Kind.SOURCE);
            this.text = text;
        }

        @Override
        public CharSequence getCharContent(boolean ignoreEncodingErrors) {
            return text;
        }
    }

    /**
     * Defines all classes of this package again, so that they see each other; shares all other
     * classes.
     */
    private static final class Loader extends ClassLoader {
        private final Map<String, byte[]> broken;
        private final UnaryOperator<byte[]> rewrite;

        Loader(Map<String, byte[]> broken, UnaryOperator<byte[]> rewrite) {
            super(Mutant.class.getClassLoader());
            this.broken = broken;
            this.rewrite = rewrite;
        }

        @Override
        protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
            synchronized (getClassLoadingLock(name)) {
                if (!name.startsWith("io.counterset.")) {
                    return super.loadClass(name, resolve);
                }
                Class<?> loaded = findLoadedClass(name);
                if (loaded == null) {
                    byte[] code = rewrite.apply(broken.containsKey(name) ? broken.get(name) : original(name));
                    loaded = defineClass(name, code, 0, code.length);
                }
                return loaded;
            }
        }

        private byte[] original(String name) throws ClassNotFoundException {
            try (InputStream in = getParent().getResourceAsStream(name.replace('.', '/') + ".class")) {
                if (in == null) {
                    throw new ClassNotFoundException(name);
                }
                return in.readAllBytes();
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }
    }
}
