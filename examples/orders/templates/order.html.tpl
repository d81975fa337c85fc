<!doctype html>
<p>You have ordered: <b>{{ item }}</b>.</p>
<p><a href="https://shop.example.org">Our page</a></p>
