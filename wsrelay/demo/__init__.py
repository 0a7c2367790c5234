"""The chat that `wsrelay demo` serves: copy this folder, and you have an app of your own."""
