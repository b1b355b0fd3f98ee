// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermission;
import java.util.Set;

/**
 * File systems made for a test: read-only or small ones. Mounting one needs a privilege. Without
 * it, a method returns false or, if it returns nothing, throws.
 */
final class Mounts {

    private Mounts() {}

    /**
     * Runs the action while the directory is read-only: by its permissions or, because these do not
     * apply to root, by a mount.
     */
    static void whileReadOnly(Path directory, Runnable action) throws IOException {
        Set<PosixFilePermission> rights = Files.getPosixFilePermissions(directory);
        Files.setPosixFilePermissions(
                directory, Set.of(PosixFilePermission.OWNER_READ, PosixFilePermission.OWNER_EXECUTE));
        try {
            if (!Files.isWritable(directory)) {
                action.run();
                return;
            }
        } finally {
            Files.setPosixFilePermissions(directory, rights);
        }
        run("mount", "--bind", directory.toString(), directory.toString());
        try {
            run("mount", "-o", "remount,ro,bind", directory.toString());
            action.run();
        } finally {
            run("umount", directory.toString());
        }
    }

    /**
     * Runs the action while the directory is a file system of {@code kib} KiB.
     *
     * @return false if this process may not mount, so that nothing was run
     */
    static boolean whileSmall(Path directory, int kib, Runnable action) throws IOException {
        try {
            run("mount", "-t", "tmpfs", "-o", "size=" + kib + "k", "tmpfs", directory.toString());
        } catch (UncheckedIOException e) {
            return false;
        }
        try {
            action.run();
            return true;
        } finally {
            run("umount", directory.toString());
        }
    }

    /**
     * Runs the action while the file is read-only: by its permissions or, because these do not
     * apply to root, by a mount.
     */
    static void whileFileIsReadOnly(Path file, Runnable action) throws IOException {
        Set<PosixFilePermission> rights = Files.getPosixFilePermissions(file);
        Files.setPosixFilePermissions(file, Set.of(PosixFilePermission.OWNER_READ));
        try {
            if (!Files.isWritable(file)) {
                action.run();
                return;
            }
        } finally {
            if (Files.exists(file)) {
                Files.setPosixFilePermissions(file, rights);
            }
        }
        run("mount", "--bind", file.toString(), file.toString());
        try {
            run("mount", "-o", "remount,ro,bind", file.toString());
            action.run();
        } finally {
            run("umount", file.toString());
        }
    }

    /**
     * Runs the action while the file is a mount of its own, so that nothing can be renamed onto it.
     *
     * @return false if this process may not mount, so that nothing was run
     */
    static boolean whileMountedByItself(Path file, Runnable action) {
        try {
            run("mount", "--bind", file.toString(), file.toString());
        } catch (UncheckedIOException e) {
            return false;
        }
        try {
            action.run();
            return true;
        } finally {
            run("umount", file.toString());
        }
    }

    private static void run(String... command) {
        try {
            Process process =
                    new ProcessBuilder(command).redirectErrorStream(true).start();
            String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            if (process.onExit().join().exitValue() != 0) {
                throw new IOException(String.join(" ", command) + ": " + output);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
