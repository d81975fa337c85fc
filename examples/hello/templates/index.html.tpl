<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <title>Hello</title>
  </head>
  <body>
    <h1>Hello, {{ visitor }}!</h1>
  </body>
</html>
